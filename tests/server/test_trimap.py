"""A caller's trimap: what it is sure of is the alpha, the picture decides the rest, and one that
does not fit is refused before a model runs.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from PIL import Image

from mattestream.request import build_options
from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from server.codecs.header import Limits
from server.finishing import DEVICE_DEFAULTS, plan
from server.job import EncodedSource, Format, Options, Output, PixelFormat, RawSource, Refine
from server.option_rules import InvalidOption
from server.options import read_options
from server.refining import edge_bytes, refine_alpha
from server.trimap import UNKNOWN, Trimap
from tests.kernels.cpu.test_matting import coarse, tufted, wrong_by
from tests.server.fakes import picture
from tests.server.serving import Served

LIMITS = Limits(max_megapixels=1, max_side_px=2000)


def file(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def drawn(truth: np.ndarray, reach: int = 15) -> np.ndarray:
    """What a person would draw: the tufts and their surroundings left open."""
    brush = np.ones((reach, reach), np.uint8)
    trimap = np.full_like(truth, UNKNOWN)
    trimap[cv2.erode(truth, brush) == 255] = 255
    trimap[cv2.dilate(truth, brush) == 0] = 0
    return trimap


def with_trimap(trimap: np.ndarray, refine: Refine | None = None) -> Options:
    return Options(
        output=Output.ALPHA,
        format=Format.RAW,
        refine=refine,
        trimap=Trimap(EncodedSource(file(trimap))),
    )


def refined(
    rgb: np.ndarray, alpha: np.ndarray, options: Options, own: np.ndarray | None = None
) -> tuple[np.ndarray, Refine]:
    done = refine_alpha(
        rgb,
        alpha,
        own,
        options,
        plan(options, DEVICE_DEFAULTS).refine,
        cell_px=12,
        is_at_full_size=False,
        check=lambda: None,
    )
    return done.alpha_u8, done.refine


def test_what_the_trimap_leaves_open_is_solved_and_the_rest_is_kept() -> None:
    rgb, truth, _ = tufted(256)
    trimap = drawn(truth)
    seen = coarse(truth, 12)
    alpha, refine = refined(rgb, seen, with_trimap(trimap))
    assert refine is Refine.BEST
    known = trimap != UNKNOWN
    assert np.array_equal(alpha[known], trimap[known])
    assert wrong_by(alpha, truth) < 0.5 * wrong_by(seen, truth)


def test_without_refinement_the_trimap_only_says_what_is_known() -> None:
    rgb, truth, _ = tufted(128)
    trimap = drawn(truth)
    seen = coarse(truth, 12)
    alpha, refine = refined(rgb, seen, with_trimap(trimap, Refine.OFF))
    assert refine is Refine.OFF
    known = trimap != UNKNOWN
    assert np.array_equal(alpha[known], trimap[known])
    assert np.array_equal(alpha[~known], seen[~known])


def test_what_was_transparent_stays_so_whatever_the_trimap_says() -> None:
    rgb, truth, _ = tufted(128)
    own = np.full_like(truth, 255)
    own[:, :64] = 0
    everything = np.full_like(truth, 255)
    alpha, _ = refined(rgb, np.minimum(coarse(truth, 12), own), with_trimap(everything), own)
    assert np.array_equal(alpha, own)


def test_a_trimap_is_not_plain_so_a_gpu_leaves_it_to_the_host() -> None:
    assert not plan(with_trimap(np.zeros((4, 4), np.uint8)), DEVICE_DEFAULTS).is_plain


def test_a_jpeg_of_three_levels_is_known_at_both_ends() -> None:
    _, truth, _ = tufted(128)
    trimap = drawn(truth)
    levels = Trimap(EncodedSource(file(trimap, "JPEG"))).levels(128, 128)
    assert set(np.unique(levels)) == {0, UNKNOWN, 255}
    assert (levels == trimap).mean() > 0.98


def test_a_trimap_shrinks_with_its_picture() -> None:
    trimap = np.zeros((100, 200), np.uint8)
    trimap[:, 100:] = 255
    given = Trimap(RawSource(trimap.tobytes(), PixelFormat.GRAY8, 200, 100))
    small = given.levels(100, 50, max_megapixels=0.005)
    assert np.array_equal(small, trimap[::2, ::2])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            file(np.zeros((10, 20), np.uint8)),
            r"subject\.trimap is 20x10 pixels, the image is 96x64",
        ),
        (b"no picture at all", r"option subject\.trimap: "),
        (
            file(np.zeros((1500, 1500), np.uint8)),
            r"option subject\.trimap: image is 1500x1500 .* takes up to 1 MP",
        ),
    ],
    ids=["another size", "no picture", "too large"],
)
def test_a_trimap_that_does_not_fit_is_named(data: bytes, sentence: str) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        Trimap(EncodedSource(data)).levels(96, 64, limits=LIMITS)


def test_what_matting_and_a_trimap_take_is_counted() -> None:
    plain = Options(refine=Refine.FAST)
    matted = Options(refine=Refine.BEST)
    mapped = with_trimap(np.zeros((500, 800), np.uint8))
    known_alone = with_trimap(np.zeros((500, 800), np.uint8), Refine.OFF)
    taken = [edge_bytes(each, 0.4, LIMITS) for each in (plain, known_alone, matted, mapped)]
    assert taken == sorted(taken)
    assert taken[0] == 0
    assert taken[1] > 500 * 800
    assert taken[3] == taken[2] + taken[1]
    assert edge_bytes(matted, 12, LIMITS) == edge_bytes(matted, 50, LIMITS)  # it is bounded


def test_a_stream_takes_no_trimap() -> None:
    options = build_options(trimap=np.zeros((4, 4), np.uint8))
    with pytest.raises(InvalidOption, match="is for a single image"):
        read_options(options, stream=True)


def test_the_sdk_takes_a_file_or_an_array(tmp_path: Path) -> None:
    pixels = np.full((4, 6), 255, np.uint8)
    path = tmp_path / "trimap.png"
    path.write_bytes(file(pixels))
    for trimap in (pixels, path, path.read_bytes()):
        options = read_options(build_options(trimap=trimap), stream=False)
        assert options.trimap is not None
        assert np.array_equal(options.trimap.levels(6, 4), pixels)


async def test_a_call_with_a_trimap_answers_as_it_says(served: Served) -> None:
    trimap = np.zeros((64, 96), np.uint8)
    trimap[:32] = 255
    options = options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_ALPHA,
        format=options_pb2.FORMAT_RAW,
        subject=options_pb2.Subject(trimap=image_pb2.Image(encoded=file(trimap))),
    )
    image = image_pb2.Image(encoded=picture())
    reply = await served.removal.Remove(removal_pb2.RemoveRequest(image=image, options=options))
    alpha = np.frombuffer(reply.result.raw.data, np.uint8).reshape(64, 96)
    assert np.array_equal(alpha, trimap)
    assert reply.report.refine == options_pb2.REFINE_BEST
    runs = len(served.registry.engines["tiny"].batches)
    options.subject.trimap.encoded = file(trimap[:10])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.removal.Remove(removal_pb2.RemoveRequest(image=image, options=options))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "subject.trimap is 96x10 pixels" in str(caught.value.details())
    assert len(served.registry.engines["tiny"].batches) == runs
