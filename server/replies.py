"""What the pipeline made, as messages: the result and the report.

Called by `server.remover` in a worker thread, because the bytes are copied into the message, and by
the CLI's local mode, so that both tell the same.
"""

from __future__ import annotations

from kernels.reference import AlphaStatistics
from mattestream.v1 import image_pb2, options_pb2, report_pb2
from models.loaded import Loaded
from models.prompt_model import PromptModel
from server.batcher import Inferred
from server.codecs.encode import Encoded, EncodedMask
from server.codecs.tensor import ElementType, Tensor
from server.cuda_memory.ranges import CudaTarget
from server.job import Method, PixelFormat, Refine
from server.pipeline import Opened, Outcome
from server.shared_memory.door import SharedTarget
from server.shared_memory.policy import SharedMemoryWrong

_PIXEL_FORMATS = {
    PixelFormat.RGB8: image_pb2.PIXEL_FORMAT_RGB8,
    PixelFormat.RGBA8: image_pb2.PIXEL_FORMAT_RGBA8,
    PixelFormat.GRAY8: image_pb2.PIXEL_FORMAT_GRAY8,
}
_CHANNELS = {PixelFormat.RGB8: 3, PixelFormat.RGBA8: 4, PixelFormat.GRAY8: 1}
_ELEMENT_TYPES = {
    ElementType.FP32: image_pb2.TENSOR_TYPE_FP32,
    ElementType.FP16: image_pb2.TENSOR_TYPE_FP16,
    ElementType.UINT8: image_pb2.TENSOR_TYPE_UINT8,
}
_REFINES = {
    Refine.OFF: options_pb2.REFINE_OFF,
    Refine.FAST: options_pb2.REFINE_FAST,
    Refine.BEST: options_pb2.REFINE_BEST,
}

_METHODS = {
    Method.MODEL: report_pb2.METHOD_MODEL,
    Method.CHROMA_KEY: report_pb2.METHOD_CHROMA_KEY,
    Method.FLAT_BACKGROUND: report_pb2.METHOD_FLAT_BACKGROUND,
}


def fill_result(result: image_pb2.Result, outcome: Outcome) -> None:
    """Puts what was made into `result`."""
    fill_encoded(result, outcome.encoded)


def fill_encoded(result: image_pb2.Result, encoded: Encoded | EncodedMask | Tensor) -> None:
    """Puts packed pixels, a mask or a tensor into `result`."""
    result.width = encoded.width
    result.height = encoded.height
    match encoded:
        case Encoded():
            _fill_bytes(result, encoded)
        case EncodedMask():
            _fill_mask(result, encoded)
        case Tensor():
            result.tensor.type = _ELEMENT_TYPES[encoded.type]
            result.tensor.shape.extend(encoded.shape)
            result.tensor.data = encoded.data


def _fill_mask(result: image_pb2.Result, mask: EncodedMask) -> None:
    if isinstance(mask.form, str):
        rle = result.mask_rle
        rle.width, rle.height, rle.counts = mask.width, mask.height, mask.form
        return
    polygons = result.polygons
    polygons.width, polygons.height = mask.width, mask.height  # set even where there are none
    for outline in mask.form:
        polygon = polygons.polygons.add(hole=outline.is_hole, outer=outline.outer)
        polygon.points.extend(outline.points.ravel().tolist())


def _fill_bytes(result: image_pb2.Result, encoded: Encoded) -> None:
    if encoded.pixel_format is None:
        result.encoded.media_type = encoded.media_type or ""
        result.encoded.data = encoded.data
        return
    raw = result.raw
    raw.layout.format = _PIXEL_FORMATS[encoded.pixel_format]
    raw.layout.width = encoded.width
    raw.layout.height = encoded.height
    raw.data = encoded.data
    if encoded.is_zlib:
        raw.compression = image_pb2.COMPRESSION_ZLIB


def fill_shared(result: image_pb2.Result, outcome: Outcome, target: SharedTarget) -> None:
    """Puts the finished pixels into shared memory, and where they lie into `result`.

    Raises:
        SharedMemoryWrong: the range is too small for them, or has been cut short.
    """
    encoded = outcome.encoded
    assert isinstance(encoded, Encoded)
    assert encoded.pixel_format is not None
    if len(encoded.data) > target.nbytes:
        raise SharedMemoryWrong(
            f"the result is {len(encoded.data)} bytes ({encoded.width}x{encoded.height} "
            f"{encoded.pixel_format.upper()}), the range in shared memory {target.region.name!r} "
            f"has {target.nbytes}: give a range that holds it"
        )
    target.region.write(target.offset, encoded.data)
    result.width, result.height = encoded.width, encoded.height
    shared = result.shared_memory
    shared.range.name = target.region.name
    shared.range.offset = target.offset
    shared.range.byte_size = len(encoded.data)
    shared.layout.format = _PIXEL_FORMATS[encoded.pixel_format]
    shared.layout.width, shared.layout.height = encoded.width, encoded.height


def fill_cuda(result: image_pb2.Result, outcome: Outcome, target: CudaTarget) -> None:
    """Puts into `result` where the finished pixels lie in their owner's device memory."""
    encoded = outcome.encoded
    assert isinstance(encoded, Encoded)
    assert encoded.pixel_format is not None
    result.width, result.height = encoded.width, encoded.height
    there, span = result.cuda_memory, target.range
    there.range.handle, there.range.device, there.range.offset = span.handle, span.gpu, span.offset
    there.range.byte_size = encoded.width * encoded.height * _CHANNELS[encoded.pixel_format]
    there.layout.format = _PIXEL_FORMATS[encoded.pixel_format]
    there.layout.width, there.layout.height = encoded.width, encoded.height


def model_used(model: Loaded | PromptModel) -> report_pb2.ModelUsed:
    """The model as every report names it."""
    engine = model.engine
    return report_pb2.ModelUsed(
        name=model.manifest.name,
        version=model.manifest.version,
        weights_sha256=model.weights_sha256,
        license=model.manifest.license,
        engine=engine.name,
        device=engine.device,
        precision=engine.precision,
    )


def report_opened(report: report_pb2.Report, opened: Opened) -> None:
    """What is known once the image is decoded."""
    report.source_width, report.source_height = opened.width, opened.height
    report.source_format = opened.format
    report.notes.extend(opened.notes)
    report.timings.decode_ms = opened.decode_ms
    report.timings.prepare_ms = opened.prepare_ms


def report_inferred(report: report_pb2.Report, inferred: Inferred) -> None:
    """What is known once the model ran."""
    report.batch_size = inferred.batch_size
    report.timings.batch_wait_ms = inferred.batch_wait_ms
    report.timings.infer_ms = inferred.infer_ms


def report_statistics(report: report_pb2.Report, statistics: AlphaStatistics) -> None:
    """What the alpha is like."""
    if statistics.box is None:
        report.no_subject = True
    else:
        left, top, right, bottom = statistics.box
        report.subject_box.CopyFrom(options_pb2.Box(left=left, top=top, right=right, bottom=bottom))
    report.coverage = statistics.coverage
    report.uncertainty = statistics.uncertainty


def report_outcome(report: report_pb2.Report, outcome: Outcome) -> None:
    """What is known at the end."""
    report_statistics(report, outcome.statistics)
    if outcome.shown is not None:
        left, top, width, height = outcome.shown[:4]
        report.shown.CopyFrom(
            options_pb2.Box(left=left, top=top, right=left + width, bottom=top + height)
        )
    report.refine = _REFINES[outcome.refine]
    report.decontaminate = outcome.decontaminate
    report.method = _METHODS[outcome.method]
    if (color := outcome.removed_color) is not None:
        report.removed_color = f"#{color.red:02x}{color.green:02x}{color.blue:02x}"
    report.notes.extend(outcome.notes)
    for name in outcome.copies.__dataclass_fields__:
        setattr(report.copies, name, getattr(outcome.copies, name))
    report.timings.finish_ms = outcome.finish_ms
    report.timings.encode_ms = outcome.encode_ms
