"""The one table from exceptions to gRPC statuses, and the only place that knows status codes.

`server.interceptors` ends calls with it, `server.services.streams` answers failed frames with it.
Exceptions are raised where the fact is known and carry the sentence for the caller; what is not in
the table is ours to explain: the caller gets "internal error" with the request's id, the log the
trace under the same id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc import StatusCode

from kernels.device import DeviceFull, DeviceLost
from models import errors as models
from server.admission import NeverFits, Overloaded
from server.auth import NotAuthenticated
from server.batcher import BatcherClosed
from server.codecs import errors as codecs
from server.deadline import DeadlineExpired
from server.kserve import errors as kserve
from server.model_host import DefaultModelStays, ModelLoading, ModelNotLoaded, NotOnThatGpu
from server.option_rules import InvalidOption, NotBuilt
from server.shared_memory.policy import SharedMemoryRefused, SharedMemoryWrong
from server.shutdown import ShuttingDown
from server.streams.errors import StreamBroken, StreamStalled, StreamTakenOver
from server.wire import DamagedMessage

TABLE: Mapping[type[Exception], StatusCode] = {
    # The caller's image and options.
    codecs.ImageRejected: StatusCode.INVALID_ARGUMENT,  # and all that are kinds of it
    InvalidOption: StatusCode.INVALID_ARGUMENT,
    NotBuilt: StatusCode.UNIMPLEMENTED,
    NeverFits: StatusCode.INVALID_ARGUMENT,
    StreamBroken: StatusCode.INVALID_ARGUMENT,
    DamagedMessage: StatusCode.INVALID_ARGUMENT,
    SharedMemoryWrong: StatusCode.INVALID_ARGUMENT,
    SharedMemoryRefused: StatusCode.PERMISSION_DENIED,
    # Models.
    models.ModelNotFound: StatusCode.NOT_FOUND,
    models.ManifestError: StatusCode.FAILED_PRECONDITION,
    models.WeightsMissing: StatusCode.FAILED_PRECONDITION,
    models.WeightsDamaged: StatusCode.FAILED_PRECONDITION,
    models.LicenceNotAccepted: StatusCode.FAILED_PRECONDITION,
    models.DeviceNotAvailable: StatusCode.FAILED_PRECONDITION,
    models.WrongKindOfModel: StatusCode.FAILED_PRECONDITION,
    models.PullFailed: StatusCode.UNAVAILABLE,
    ModelNotLoaded: StatusCode.FAILED_PRECONDITION,
    NotOnThatGpu: StatusCode.FAILED_PRECONDITION,
    DefaultModelStays: StatusCode.FAILED_PRECONDITION,
    ModelLoading: StatusCode.UNAVAILABLE,
    BatcherClosed: StatusCode.UNAVAILABLE,
    # The KServe protocol's own.
    kserve.WrongRequest: StatusCode.INVALID_ARGUMENT,
    kserve.NotSupported: StatusCode.UNIMPLEMENTED,
    kserve.ModelNotServing: StatusCode.UNAVAILABLE,
    kserve.VersionUnknown: StatusCode.NOT_FOUND,
    kserve.RegionUnknown: StatusCode.NOT_FOUND,
    kserve.RegionKnown: StatusCode.ALREADY_EXISTS,
    # The server's state.
    Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    DeviceFull: StatusCode.RESOURCE_EXHAUSTED,
    DeviceLost: StatusCode.UNAVAILABLE,
    DeadlineExpired: StatusCode.DEADLINE_EXCEEDED,
    StreamStalled: StatusCode.DEADLINE_EXCEEDED,
    StreamTakenOver: StatusCode.ABORTED,
    ShuttingDown: StatusCode.UNAVAILABLE,
    NotAuthenticated: StatusCode.UNAUTHENTICATED,
    # EngineFailed and everything unknown: INTERNAL, without details.
}

REQUEST_ID = "x-request-id"
REASON = "mattestream-reason"
# Well below the 8 KiB of metadata that peers accept by default, percent-encoding included.
MAX_MESSAGE_CHARS = 1500
MODEL_RETRY_MS = 500
DEVICE_RETRY_MS = 1000  # idle memory of a GPU has been given back by then

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How a call or a frame ended, in the caller's words.

    Attributes:
        retry_after_ms: when to try again; 0 when that does not help.
        is_internal: the error is ours, and the log must hold its trace.
        reason: tells apart what shares a code: "image" when the picture itself is at fault.
    """

    code: StatusCode
    message: str
    retry_after_ms: int = 0
    is_internal: bool = False
    reason: str = ""

    @property
    def number(self) -> int:
        """The code as on the wire, 1..16."""
        value: tuple[int, str] = self.code.value
        return value[0]


def status_of(error: Exception, request_id: str) -> Status:
    """The status that `error` ends a call with; its nearest base class in the table decides."""
    for kind in type(error).__mro__:
        code = TABLE.get(kind)
        if code is not None:
            message = str(error)
            if len(message) > MAX_MESSAGE_CHARS:
                message = message[: MAX_MESSAGE_CHARS - 1] + "…"
            reason = "image" if isinstance(error, codecs.ImageRejected | NeverFits) else ""
            return Status(code, message, _retry_after_ms(error), reason=reason)
    return Status(StatusCode.INTERNAL, f"internal error, request {request_id}", is_internal=True)


def forget_frames(error: BaseException) -> None:
    """Drops the tracebacks of `error` and of those behind it, once they are logged.

    Their frames hold the image, its pixels and its tensor, in circles that only the garbage
    collector would find, minutes later.
    """
    behind: list[BaseException | None] = [error]
    while behind:
        link = behind.pop()
        if link is not None and link.__traceback__ is not None:
            link.__traceback__ = None
            behind += [link.__cause__, link.__context__]


def trailers(status: Status, request_id: str) -> Metadata:
    """Trailing metadata of a call that ended with `status`: the id, and the retry hint in both of
    its forms.
    """
    metadata: Metadata = ((REQUEST_ID, request_id),)
    if status.reason:
        metadata += ((REASON, status.reason),)
    if not status.retry_after_ms:
        return metadata
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(status.retry_after_ms)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    rich = status_pb2.Status(code=status.number, message=status.message, details=[detail])
    return (
        *metadata,
        ("grpc-retry-pushback-ms", str(status.retry_after_ms)),
        ("grpc-status-details-bin", rich.SerializeToString()),
    )


def _retry_after_ms(error: Exception) -> int:
    if isinstance(error, Overloaded):
        return error.retry_after_ms
    if isinstance(error, DeviceFull):
        return DEVICE_RETRY_MS
    return MODEL_RETRY_MS if isinstance(error, ModelLoading | BatcherClosed) else 0
