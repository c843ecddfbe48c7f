"""What a GPU's server remembers of a picture outlives the slot that the picture lay in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from mattestream.v1 import image_pb2, removal_pb2
from mattestream.v1 import options_pb2 as O  # noqa: N812
from tests.fakes.sam_onnx import write_sam_model
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.device.served import serving

U8 = NDArray[np.uint8]
WIDTH, HEIGHT = 240, 160
IN_RIGHT = (190, 85)  # a place in one of the blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, side=64, max_batch=2)
    write_sam_model(made, "disc")
    return made


def scene() -> bytes:
    """Two white blocks, as a JPEG, which is decoded straight into a slot."""
    pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    pixels[20:140, 10:130] = pixels[40:130, 150:230] = 255
    return jpeg(pixels)


def inverted(shade: int) -> bytes:
    """A bright picture of the same size, dark where the blocks are."""
    pixels = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
    pixels[40:130, 150:230] = 20
    return jpeg(pixels)


def jpeg(pixels: U8) -> bytes:
    return simplejpeg.encode_jpeg(pixels, quality=95, colorspace="RGB", colorsubsampling="444")


async def test_a_second_click_is_answered_from_the_picture_as_it_was(folder: Path) -> None:
    def asked(data: bytes, place: tuple[int, int]) -> removal_pb2.SegmentRequest:
        subject = O.Subject(points=[O.Point(x=place[0], y=place[1])])
        image = image_pb2.Image(encoded=data)
        return removal_pb2.SegmentRequest(image=image, subject=subject, format=O.FORMAT_RAW)

    # Other pictures of the same size go through the same slots between the clicks.
    async with serving(folder, prompt_model="disc") as (_, _, stub):
        await stub.Segment(asked(scene(), IN_RIGHT))
        second = await stub.Segment(asked(scene(), IN_RIGHT))
        for shade in range(120, 200, 10):
            image = image_pb2.Image(encoded=inverted(shade))
            options = O.RemoveOptions(output=O.OUTPUT_ALPHA, edges=O.Edges(feather_px=1))
            await stub.Remove(removal_pb2.RemoveRequest(image=image, options=options))
        again = await stub.Segment(asked(scene(), IN_RIGHT))
    assert again.report.cached_features
    assert again.subjects[0].alpha.raw.data == second.subjects[0].alpha.raw.data
