"""The client for threads and scripts: `Client`. `mattestream.aio` has the same for asyncio.

    with Client() as client:
        client.remove("in.jpg").save("out.png")
        for result in client.remove_stream(frames):
            ...

A client may be used from several threads; it holds one channel, which connects with the first call
and again whenever the connection broke. One iterator of `remove_stream` belongs to one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import Literal, Self, TypeVar, Unpack, overload

import grpc

from mattestream import calls, channel, health
from mattestream.errors import MattestreamError
from mattestream.keywords import (
    ON_ERROR,
    DeliveryName,
    RemoveKeywords,
    SegmentKeywords,
    StreamKeywords,
)
from mattestream.picture import ImageInput
from mattestream.reply import FrameFailed, Removal, removal
from mattestream.request import (
    Frame,
    build_request,
    build_segment_request,
    build_stream_config,
    check_frames,
)
from mattestream.segmentation import Segmentation, segmentation
from mattestream.sender import Sender
from mattestream.shared_frame import in_flight, shared_of
from mattestream.v1 import models_pb2, models_pb2_grpc, removal_pb2, removal_pb2_grpc
from mattestream.values import choose

_Reply = TypeVar("_Reply")


class Client:
    """A connection to a mattestream server.

    Args:
        address: "host:port" or "unix:/path"; nothing is connected before the first call.
        timeout_s: limit of every call but `remove_stream` in seconds, retries included; None for
            none.
        api_key: sent as `x-api-key` with every call.
        tls: False for plain text, True for the system's roots, or a `Tls`.
        max_message_mib: largest request and reply in MiB, 1 to 2047.
        retries: False to see the first failure (for load tests).

    Raises:
        InvalidRequest: the address, the key or the limit is none that a call could be made with.
    """

    def __init__(
        self,
        address: str = channel.DEFAULT_ADDRESS,
        *,
        timeout_s: float | None = channel.DEFAULT_TIMEOUT_S,
        api_key: str | None = None,
        tls: channel.Tls | bool = False,
        max_message_mib: int = channel.DEFAULT_MAX_MESSAGE_MIB,
        retries: bool = True,
    ) -> None:
        self.timeout_s = timeout_s
        self._closed = False
        self._connection = channel.connection(
            address, api_key=api_key, tls=tls, max_message_mib=max_message_mib, retries=retries
        )
        options = self._connection.options()
        if self._connection.tls:
            credentials = self._connection.tls.credentials()
            self._channel = grpc.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._removal = removal_pb2_grpc.BackgroundRemovalServiceStub(self._channel)
        self._models = models_pb2_grpc.ModelsServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way, and calls made later, end with `Cancelled`."""
        self._closed = True
        self._channel.close()

    def remove(
        self,
        image: ImageInput,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[RemoveKeywords],
    ) -> Removal:
        """The image without its background.

        Args:
            image: bytes of a file, a path, an open binary file, a uint8 array in RGB order, a
                Pillow image, a frame of `SharedFrames`, a `CudaFrame`, or what `raw_image` made
                (BGR, NV12).
            timeout_s: limit in seconds for this call; None takes the client's.
            request_id: an id of the caller's own, for the server's log and the report.
            options: see `RemoveKeywords`; the defaults give a cut-out as PNG.

        Raises:
            MattestreamError: see `mattestream.errors`.
        """
        request = build_request(image, options)
        calls.check_size(request.ByteSize(), self._connection.max_message_bytes)
        metadata = calls.with_request_id(self._connection.metadata(), request_id)
        shared = shared_of(image)
        with in_flight(shared), calls.typed_errors(self._is_closed):
            response = self._removal.Remove(
                request, timeout=self._limit(timeout_s), metadata=metadata
            )
        return removal(response, shared)

    def segment(
        self,
        image: ImageInput,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SegmentKeywords],
    ) -> Segmentation:
        """The subjects of an image, each with its alpha, largest first.

        With `points`, `box` or `mask` it is the one subject that they mean; the next prompt for the
        same bytes is answered from what the server remembers of them.

        Args:
            image: as `remove` takes it, but not in shared memory.
            timeout_s: limit in seconds for this call; None takes the client's.
            request_id: an id of the caller's own, for the server's log and the report.
            options: see `SegmentKeywords`.

        Raises:
            MattestreamError: see `mattestream.errors`.
        """
        request = build_segment_request(image, options)
        calls.check_size(request.ByteSize(), self._connection.max_message_bytes)
        metadata = calls.with_request_id(self._connection.metadata(), request_id)
        with calls.typed_errors(self._is_closed):
            return segmentation(
                self._removal.Segment(request, timeout=self._limit(timeout_s), metadata=metadata)
            )

    @overload
    def remove_stream(
        self,
        images: Iterable[ImageInput | Frame],
        *,
        window: int = ...,
        delivery: DeliveryName = ...,
        timeout_s: float | None = ...,
        on_error: Literal["raise"],
        **options: Unpack[StreamKeywords],
    ) -> Generator[Removal, None, None]: ...

    @overload
    def remove_stream(
        self,
        images: Iterable[ImageInput | Frame],
        *,
        window: int = ...,
        delivery: DeliveryName = ...,
        timeout_s: float | None = ...,
        on_error: Literal["yield"] = ...,
        **options: Unpack[StreamKeywords],
    ) -> Generator[Removal | FrameFailed, None, None]: ...

    def remove_stream(
        self,
        images: Iterable[ImageInput | Frame],
        *,
        window: int = 0,
        delivery: DeliveryName = "in_order",
        timeout_s: float | None = None,
        on_error: Literal["yield", "raise"] = "yield",
        **options: Unpack[StreamKeywords],
    ) -> Generator[Removal | FrameFailed, None, None]:
        """One outcome for each image, in their order, while later images are still being sent.

        `images` is read from another thread, and no further ahead than the window: a generator over
        a million files holds a few of them. Leaving the loop early ends the stream.

        Args:
            images: what `remove` takes, or `Frame`s with numbers of the caller's own; read once.
            window: frames in work at once; 0 takes the server's setting.
            delivery: "in_order" answers every frame; "latest" skips frames that were overtaken.
            timeout_s: limit in seconds for the whole stream; None for none.
            on_error: "yield" gives `FrameFailed` for a frame that failed and goes on; "raise" ends.
            options: of every frame, and `StreamKeywords`; the defaults give the alpha as raw
                pixels.

        Raises:
            InvalidRequest: an option cannot be written into a message, or `images` is one picture
                (raised at once).
            MattestreamError: the stream as a whole failed (raised in the loop).
        """
        config = build_stream_config(options, window=window, delivery=delivery)
        check_frames(images)
        raises = choose("on_error", on_error, ON_ERROR)
        return self._stream(config, images, timeout_s=timeout_s, raises=raises)

    def _stream(
        self,
        config: removal_pb2.RemoveStreamRequest,
        images: Iterable[ImageInput | Frame],
        *,
        timeout_s: float | None,
        raises: bool,
    ) -> Generator[Removal | FrameFailed, None, None]:
        sender = Sender(config, images, self._connection.max_message_bytes)
        with calls.typed_errors(self._is_closed):
            call = self._removal.RemoveStream(
                sender.messages(), timeout=timeout_s, metadata=self._connection.metadata()
            )
        sender.on_failure(call.cancel)
        try:
            with calls.typed_errors(self._is_closed, sender.raise_own_failure):
                for message in call:
                    for item in sender.receive(message):
                        if raises and isinstance(item, FrameFailed):
                            raise item.error
                        yield item
                        del item  # nor is the last result held while the next is waited for
            for left in sender.end():
                if raises:
                    raise left.error
                yield left
        finally:
            sender.stop()
            call.cancel()

    def list_models(self) -> list[models_pb2.Model]:
        """Every model the server knows, loaded or not, by name."""
        request = models_pb2.ListModelsRequest()
        return list(self._unary(self._models.ListModels, request).models)

    def get_model(self, name: str) -> models_pb2.Model:
        """One model; `ModelNotFound` when there is none of that name."""
        return self._unary(self._models.GetModel, models_pb2.GetModelRequest(name=name)).model

    def load_model(self, name: str) -> models_pb2.Model:
        """Loads and warms a model; returns when it can serve."""
        return self._unary(self._models.LoadModel, models_pb2.LoadModelRequest(name=name)).model

    def unload_model(self, name: str) -> models_pb2.Model:
        """Lets a model finish its work and frees it."""
        return self._unary(self._models.UnloadModel, models_pb2.UnloadModelRequest(name=name)).model

    def wait_ready(self, timeout_s: float = 30.0, *, model: str | None = None) -> None:
        """Returns when the server (or one model of it) is warm and serving.

        Raises:
            DeadlineExceeded: nobody answered, or it was not ready in time; the sentence says which.
            NotBuilt: what answers there is no mattestream server.
        """
        watch = self._channel.unary_stream(
            health.WATCH,
            request_serializer=health.write_request,
            response_deserializer=health.read_status,
        )
        service = health.service_name(model)
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline_s - time.monotonic(), 0.0)
            status: int | None = None  # of this watch: what an earlier one said may be over
            try:
                with calls.typed_errors(self._is_closed):
                    call = watch(service, timeout=left_s, wait_for_ready=True)
                    try:
                        for status in call:
                            if status == health.SERVING:
                                return
                    finally:
                        call.cancel()
            except MattestreamError as error:
                calls.check_still_waiting(error, model, status, timeout_s)

    def _limit(self, timeout_s: float | None) -> float | None:
        return self.timeout_s if timeout_s is None else timeout_s

    def _unary(self, method: Callable[..., _Reply], request: object) -> _Reply:
        with calls.typed_errors(self._is_closed):
            return method(request, timeout=self.timeout_s, metadata=self._connection.metadata())

    def _is_closed(self) -> bool:
        return self._closed
