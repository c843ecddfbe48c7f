"""Removing in this process: the server's own pipeline and options, without a wire.

Called by `mattestream.cli.remove` when no `--address` is given. It imports the application, so the
command imports it when it runs.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import cv2

from mattestream.reply import Removal, removal
from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from models.errors import ModelError
from server import replies
from server.catalogue import open_registry
from server.codecs.errors import ImageRejected
from server.codecs.header import Limits
from server.config import Config
from server.options import read_options, read_source
from server.pipeline import Pipeline


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
        self.model = open_registry(config).load(
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
        outcome = self._pipeline.remove(source, self.options, self.model)
        response = removal_pb2.RemoveResponse()
        report = response.report
        report.model.CopyFrom(replies.model_used(self.model))
        replies.report_opened(report, outcome.opened)
        report.batch_size, report.timings.infer_ms = 1, outcome.infer_ms
        replies.report_outcome(report, outcome)
        replies.fill_result(response.result, outcome)
        return removal(response)
