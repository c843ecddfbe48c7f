"""Removing in this process: the server's own pipeline and options, without a wire.

Called by `mattestream.cli.remove` when no `--address` is given. It imports the application, so the
command imports it when it runs.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self

import cv2

from kernels.device import DeviceError
from mattestream.reply import Removal, removal
from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from models.errors import ModelError
from server import behind, replies
from server.catalogue import open_registry, targets
from server.codecs.errors import ImageRejected
from server.codecs.header import Limits
from server.config import MEBIBYTE, Config
from server.option_rules import InvalidOption
from server.options import read_options, read_source
from server.pipeline import remove_one
from server.replica import make_pipeline
from server.subjects.prompter import Prompter


class LocalRemover:
    """The pipeline with one loaded model.

    Args:
        config: as a server would have it: model, device, model folders, accepted licences, limits.
        message: the options, as they would go over the wire.
        workers: threads that will call `remove`.

    Raises:
        ModelError: the model cannot be loaded.
        Exception: as `server.options.read_options`, for options that are wrong or not built yet,
            and for a background that is no picture.
    """

    # InvalidOption: what fits one picture, a point or a mask, need not fit the next.
    errors = (ImageRejected, InvalidOption, ModelError, DeviceError)

    def __init__(
        self, config: Config, message: options_pb2.RemoveOptions, *, workers: int = 1
    ) -> None:
        if workers > 1:
            # Several pictures at once fill the cores; OpenCV's own threads would fight with them.
            cv2.setNumThreads(1)
        self.options = read_options(message, stream=False)
        limits = Limits(config.max_megapixels, config.max_side_px)
        behind.load(self.options, limits)
        target = targets(config)[0]
        registry = open_registry(config)
        self._prompter = Prompter(registry, default=config.prompt_model, max_bytes=0)
        self.model = registry.load(self.options.model or config.model, target, threads=workers)
        try:
            self.model.warm()
            self._pipeline = make_pipeline(
                self.model,
                target,
                limits,
                gpu_jpeg=config.gpu_jpeg,
                slot_bytes=config.gpu_slot_mb * MEBIBYTE,
            )
        except BaseException:
            self.model.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipeline.free()
        self.model.close()
        self._prompter.close()

    def remove(self, data: bytes) -> Removal:
        """The result; raises one of `errors` when the picture is at fault."""
        source = read_source(image_pb2.Image(encoded=data))
        response = removal_pb2.RemoveResponse()
        report = response.report
        options = self.options
        if options.subject is not None and options.subject.has_prompts:
            wish, _ = self._prompter.bind(options.subject, None, report)
            options = replace(options, subject=wish)
        removed = remove_one(self._pipeline, source, options)
        report.model.CopyFrom(replies.model_used(self.model))
        replies.report_opened(report, removed.opened)
        report.batch_size, report.timings.infer_ms = 1, removed.infer_ms
        replies.report_outcome(report, removed.outcome)
        replies.fill_result(response.result, removed.outcome)
        return removal(response)
