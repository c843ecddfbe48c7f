"""Removing in this process: the server's own pipeline and options, without a wire.

Called by `mattestream.cli.remove` when no `--address` is given. It imports the application, so the
command imports it when it runs.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import cv2

from mattestream.reply import Removal
from mattestream.v1 import image_pb2, options_pb2, report_pb2
from models.errors import ModelError
from models.registry import Registry
from server.codecs.errors import ImageRejected
from server.codecs.header import Limits
from server.config import Config
from server.job import PixelFormat
from server.options import read_options, read_source
from server.pipeline import Outcome, Pipeline

_CHANNELS = {PixelFormat.GRAY8: 1, PixelFormat.RGB8: 3, PixelFormat.RGBA8: 4}


class LocalRemover:
    """The pipeline with one loaded model.

    Args:
        config: as a server would have it: model, device, model folders, accepted licences, limits.
        message: the options, as they would go over the wire.
        workers: threads that will call `remove`.

    Raises:
        ModelError: the model cannot be loaded.
        Exception: as `server.options.read_options`, for options that are wrong or not built yet.
    """

    errors = (ImageRejected, ModelError)

    def __init__(
        self, config: Config, message: options_pb2.RemoveOptions, *, workers: int = 1
    ) -> None:
        if workers > 1:
            # Several pictures at once fill the cores; OpenCV's own threads would fight with them.
            cv2.setNumThreads(1)
        self.options = read_options(message, stream=False)
        registry = Registry(
            config.model_dirs,
            cache_dir=config.cache_dir,
            accepted_licences=frozenset(config.accept_licenses),
        )
        self.model = registry.load(
            self.options.model or config.model, device=config.device, threads=workers
        )
        self._pipeline = Pipeline(Limits(config.max_megapixels, config.max_side_px))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.model.close()

    def remove(self, data: bytes) -> Removal:
        """The result; raises one of `errors` when the picture is at fault."""
        source = read_source(image_pb2.Image(encoded=data))
        return self._removal(self._pipeline.remove(source, self.options, self.model))

    def _removal(self, outcome: Outcome) -> Removal:
        encoded = outcome.encoded
        manifest, engine = self.model.manifest, self.model.engine
        report = report_pb2.Report(
            model=report_pb2.ModelUsed(
                name=manifest.name,
                version=manifest.version,
                weights_sha256=self.model.weights_sha256,
                license=manifest.license,
                engine=engine.name,
                device=engine.device,
                precision=engine.precision,
            ),
            timings=report_pb2.Timings(
                decode_ms=outcome.decode_ms,
                prepare_ms=outcome.prepare_ms,
                infer_ms=outcome.infer_ms,
                finish_ms=outcome.finish_ms,
                encode_ms=outcome.encode_ms,
            ),
            source_width=outcome.source_width,
            source_height=outcome.source_height,
            source_format=outcome.source_format,
            no_subject=outcome.statistics.box is None,
            notes=outcome.notes,
        )
        return Removal(
            data=encoded.data,
            media_type=encoded.media_type or "",
            width=encoded.width,
            height=encoded.height,
            report=report,
            channels=_CHANNELS.get(encoded.pixel_format, 0) if encoded.pixel_format else 0,
        )
