"""The client for asyncio: `AsyncClient`, method for method the same as `mattestream.client.Client`.

async with AsyncClient() as client:
    (await client.remove("in.jpg")).save("out.png")
    async for result in client.remove_stream(frames):
        ...
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Literal, Self, TypeVar, Unpack, overload

from grpc import aio

from mattestream import calls, channel, health
from mattestream.aio_sender import Images, Sender, off_loop
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
    build_request,
    build_segment_request,
    build_stream_config,
    check_frames,
)
from mattestream.segmentation import Segmentation, segmentation
from mattestream.shared_frame import in_flight, shared_of
from mattestream.v1 import models_pb2, models_pb2_grpc, removal_pb2, removal_pb2_grpc
from mattestream.values import choose

_Reply = TypeVar("_Reply")


class AsyncClient:
    """A connection to a mattestream server, to be made and used inside one running event loop.

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
        RuntimeError: no event loop is running.
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
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # grpc would take, or miss, a loop that nobody runs
            raise RuntimeError("make an AsyncClient inside the coroutine that uses it") from None
        options = self._connection.options()
        if self._connection.tls:
            credentials = self._connection.tls.credentials()
            self._channel = aio.secure_channel(address, credentials, options)
        else:
            self._channel = aio.insecure_channel(address, options)
        self._removal: removal_pb2_grpc.BackgroundRemovalServiceAsyncStub = (
            removal_pb2_grpc.BackgroundRemovalServiceStub(self._channel)
        )
        self._models: models_pb2_grpc.ModelsServiceAsyncStub = models_pb2_grpc.ModelsServiceStub(
            self._channel
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way, and calls made later, end with `Cancelled`."""
        self._closed = True
        await self._channel.close()

    async def remove(
        self,
        image: ImageInput,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[RemoveKeywords],
    ) -> Removal:
        """The image without its background; see `Client.remove`."""
        request = await off_loop(image, lambda: build_request(image, options))
        calls.check_size(request.ByteSize(), self._connection.max_message_bytes)
        metadata = calls.with_request_id(self._connection.metadata(), request_id)
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        shared = shared_of(image)
        with in_flight(shared), calls.typed_errors(self._is_closed):
            response = await self._removal.Remove(request, timeout=limit_s, metadata=metadata)
        return removal(response, shared)

    async def segment(
        self,
        image: ImageInput,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SegmentKeywords],
    ) -> Segmentation:
        """The subjects of an image, each with its alpha; see `Client.segment`."""
        request = await off_loop(image, lambda: build_segment_request(image, options))
        calls.check_size(request.ByteSize(), self._connection.max_message_bytes)
        metadata = calls.with_request_id(self._connection.metadata(), request_id)
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        with calls.typed_errors(self._is_closed):
            response = await self._removal.Segment(request, timeout=limit_s, metadata=metadata)
        return segmentation(response)

    @overload
    def remove_stream(
        self,
        images: Images,
        *,
        window: int = ...,
        delivery: DeliveryName = ...,
        timeout_s: float | None = ...,
        on_error: Literal["raise"],
        **options: Unpack[StreamKeywords],
    ) -> AsyncGenerator[Removal, None]: ...

    @overload
    def remove_stream(
        self,
        images: Images,
        *,
        window: int = ...,
        delivery: DeliveryName = ...,
        timeout_s: float | None = ...,
        on_error: Literal["yield"] = ...,
        **options: Unpack[StreamKeywords],
    ) -> AsyncGenerator[Removal | FrameFailed, None]: ...

    def remove_stream(
        self,
        images: Images,
        *,
        window: int = 0,
        delivery: DeliveryName = "in_order",
        timeout_s: float | None = None,
        on_error: Literal["yield", "raise"] = "yield",
        **options: Unpack[StreamKeywords],
    ) -> AsyncGenerator[Removal | FrameFailed, None]:
        """One outcome for each image, in their order; see `Client.remove_stream`.

        `images` may also be an async iterable. A plain iterable is read in a worker thread, so that
        one that blocks does not hold up the loop.
        """
        config = build_stream_config(options, window=window, delivery=delivery)
        check_frames(images)
        raises = choose("on_error", on_error, ON_ERROR)
        return self._stream(config, images, timeout_s=timeout_s, raises=raises)

    async def _stream(
        self,
        config: removal_pb2.RemoveStreamRequest,
        images: Images,
        *,
        timeout_s: float | None,
        raises: bool,
    ) -> AsyncGenerator[Removal | FrameFailed, None]:
        sender = Sender(config, images, self._connection.max_message_bytes)
        with calls.typed_errors(self._is_closed):
            call = self._removal.RemoveStream(
                sender.messages(), timeout=timeout_s, metadata=self._connection.metadata()
            )
        sender.on_failure(call.cancel)
        try:
            with calls.typed_errors(self._is_closed, sender.raise_own_failure):
                async for message in call:
                    for item in await sender.receive(message):
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

    async def list_models(self) -> list[models_pb2.Model]:
        """Every model the server knows, loaded or not, by name."""
        request = models_pb2.ListModelsRequest()
        return list((await self._unary(self._models.ListModels, request)).models)

    async def get_model(self, name: str) -> models_pb2.Model:
        """One model; `ModelNotFound` when there is none of that name."""
        request = models_pb2.GetModelRequest(name=name)
        return (await self._unary(self._models.GetModel, request)).model

    async def load_model(self, name: str) -> models_pb2.Model:
        """Loads and warms a model; returns when it can serve."""
        request = models_pb2.LoadModelRequest(name=name)
        return (await self._unary(self._models.LoadModel, request)).model

    async def unload_model(self, name: str) -> models_pb2.Model:
        """Lets a model finish its work and frees it."""
        request = models_pb2.UnloadModelRequest(name=name)
        return (await self._unary(self._models.UnloadModel, request)).model

    async def wait_ready(self, timeout_s: float = 30.0, *, model: str | None = None) -> None:
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
                        async for status in call:
                            if status == health.SERVING:
                                return
                    finally:
                        call.cancel()
            except MattestreamError as error:
                calls.check_still_waiting(error, model, status, timeout_s)

    async def _unary(self, method: Callable[..., Awaitable[_Reply]], request: object) -> _Reply:
        with calls.typed_errors(self._is_closed):
            return await method(
                request, timeout=self.timeout_s, metadata=self._connection.metadata()
            )

    def _is_closed(self) -> bool:
        return self._closed
