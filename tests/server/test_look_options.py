"""Backgrounds, crops and shadows as callers ask for them: through a real server, in pixels."""

from __future__ import annotations

import io

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from mattestream.v1 import options_pb2 as O  # noqa: N812
from tests.server.fakes import config_message, frame_message, request
from tests.server.serving import Serve, Served

U8 = NDArray[np.uint8]
WIDTH, HEIGHT = 96, 64
BLOCK = (32, 16, 64, 48)  # left, top, right, bottom of the subject


def png(pixels: U8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def scene() -> bytes:
    """A white block, which the tiny model takes for the subject, on black."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, top, right, bottom = BLOCK
    pixels[top:bottom, left:right] = 255
    return png(pixels)


def flat(color: tuple[int, ...], width: int = 10, height: int = 10) -> image_pb2.Image:
    return image_pb2.Image(encoded=png(np.full((height, width, len(color)), color, np.uint8)))


async def ask(served: Served, **options: object) -> tuple[U8, removal_pb2.RemoveResponse]:
    """Pixels and response for the scene, whose edges stay as the model draws them."""
    edges = O.Edges(refine=O.REFINE_OFF)
    wanted = options_pb2.RemoveOptions(edges=edges, **options)  # type: ignore[arg-type]
    response = await served.removal.Remove(request(scene(), wanted))
    with Image.open(io.BytesIO(response.result.encoded.data)) as picture:
        return np.asarray(picture), response


def behind(**kind: object) -> dict[str, object]:
    return {"output": O.OUTPUT_COMPOSITE, "background": O.Background(**kind)}  # type: ignore[arg-type]


async def refusal(served: Served, **options: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(served, **options)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


async def test_a_picture_covers_the_canvas_behind_the_subject(serve: Serve) -> None:
    image = O.BackgroundImage(image=flat((200, 40, 10)))
    async with serve() as served:
        pixels, _ = await ask(served, **behind(image=image))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert (pixels[4, 4] == (200, 40, 10)).all()
    assert (pixels[32, 48] > 240).all()


async def test_a_picture_that_is_contained_leaves_its_colour_beside_it(serve: Serve) -> None:
    image = O.BackgroundImage(image=flat((200, 0, 0)), fit=O.FIT_CONTAIN, color="blue")
    async with serve() as served:
        pixels, _ = await ask(served, **behind(image=image))
    assert (pixels[4, 2] == (0, 0, 255)).all()  # a square in the middle of a wide canvas
    assert (pixels[4, 40] == (200, 0, 0)).all()


async def test_a_translucent_picture_shows_the_colour_behind_it(serve: Serve) -> None:
    image = O.BackgroundImage(image=flat((0, 0, 0, 128)), color="white")
    async with serve() as served:
        pixels, _ = await ask(served, **behind(image=image))
    assert pixels.shape[2] == 3
    assert np.abs(pixels[4, 4].astype(int) - 127).max() <= 1


async def test_the_old_background_is_blurred_or_stands_alone_without_the_subject(
    serve: Serve,
) -> None:
    async with serve() as served:
        blurred, _ = await ask(served, **behind(blur=O.BackgroundBlur(radius_px=8)))
        alone, _ = await ask(served, **behind(inpaint=O.BackgroundInpaint()))
    assert (blurred[32, 48] > 240).all()  # the subject is sharp
    assert blurred[4, 4].max() < 60
    assert alone.shape == (HEIGHT, WIDTH, 3)
    assert alone[32, 48].max() < 120  # the black around it has closed over it


async def test_a_crop_is_tight_and_the_report_says_where_it_lies(serve: Serve) -> None:
    async with serve() as served:
        pixels, response = await ask(served, crop=O.Crop())
    shown, box = response.report.shown, response.report.subject_box
    assert (shown.left, shown.top, shown.right, shown.bottom) == pytest.approx(BLOCK, abs=3)
    # Around all that is visible, soft edges included; the box is around what is half opaque.
    assert (box.left - 4, box.top - 4) <= (shown.left, shown.top) <= (box.left, box.top)
    assert pixels.shape[:2] == (shown.bottom - shown.top, shown.right - shown.left)
    assert (response.result.width, response.result.height) == pixels.shape[1::-1]


async def test_without_a_crop_the_report_says_nothing_of_one(serve: Serve) -> None:
    async with serve() as served:
        _, response = await ask(served)
    assert not response.report.HasField("shown")


async def test_margins_canvas_and_position_place_the_subject(serve: Serve) -> None:
    crop = O.Crop(canvas_width=60, canvas_height=120, scale=0.5, position_y=1.0)
    async with serve() as served:
        pixels, _ = await ask(served, crop=crop, **behind(color="lime"))
        wide, response = await ask(served, crop=O.Crop(margin_left=O.Length(px=10)))
    assert pixels.shape == (120, 60, 3)
    assert (pixels[10, 30] == (0, 255, 0)).all()  # room above, the subject at the bottom
    assert (pixels[110, 30] > 230).all()
    shown = response.report.shown
    assert wide.shape[1] == shown.right - shown.left
    assert not wide[:, :10, 3].any()
    assert wide[:, 10, 3].any()


async def test_a_circle_has_a_soft_rim_and_nothing_outside(serve: Serve) -> None:
    async with serve() as served:
        pixels, _ = await ask(served, crop=O.Crop(circle=True), **behind(color="navy"))
    assert pixels.shape[0] == pixels.shape[1]
    assert pixels.shape[2] == 4
    alpha = pixels[..., 3]
    assert alpha[0, 0] == 0
    assert alpha[len(alpha) // 2, len(alpha) // 2] == 255
    assert ((alpha > 0) & (alpha < 255)).any()


async def test_a_drop_shadow_lies_beside_the_subject_in_cutouts_and_composites(
    serve: Serve,
) -> None:
    shadow = O.Shadow(kind=O.SHADOW_KIND_DROP, opacity=1, blur_px=0, offset_x_px=12, offset_y_px=0)
    async with serve() as served:
        cutout, _ = await ask(served, shadow=shadow)
        composite, _ = await ask(served, shadow=shadow, **behind(color="white"))
    assert cutout[32, 72, 3] > 240
    assert cutout[32, 72, :3].max() < 40
    assert composite[32, 72].max() < 40
    assert (composite[32, 20] == 255).all()


async def test_a_cropped_alpha_and_a_zip_are_cut_alike(serve: Serve) -> None:
    async with serve() as served:
        alpha, response = await ask(served, crop=O.Crop(), output=O.OUTPUT_ALPHA)
        edges = O.Edges(refine=O.REFINE_OFF)
        options = O.RemoveOptions(crop=O.Crop(), format=O.FORMAT_ZIP, edges=edges)
        packed = await served.removal.Remove(request(scene(), options))
    assert alpha.shape == (response.result.height, response.result.width)
    assert (packed.result.width, packed.result.height) == alpha.shape[::-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (behind(image=O.BackgroundImage(image=image_pb2.Image(encoded=b"no"))), "image.image: "),
        (behind(image=O.BackgroundImage()), "background.image.image is empty"),
        (behind(image=O.BackgroundImage(image=flat((1, 2, 3)), color="rde")), "image.color: 'rde'"),
        (behind(blur=O.BackgroundBlur(radius_px=201)), "radius_px is 201: it must be from 0"),
        ({"crop": O.Crop(margin_top=O.Length())}, "crop.margin_top says no length"),
        ({"crop": O.Crop(margin_top=O.Length(px=501))}, "margin_top.px is 501"),
        ({"crop": O.Crop(aspect=2, canvas_width=9, canvas_height=9)}, "leave out the aspect"),
        ({"crop": O.Crop(canvas_width=1 << 31)}, "give a smaller canvas"),
        ({"shadow": O.Shadow(opacity=0.5)}, "shadow.opacity is set, but shadow.kind is not"),
        (
            {"shadow": O.Shadow(kind=O.SHADOW_KIND_DROP), "output": O.OUTPUT_ALPHA},
            "which is only about the subject's shape",
        ),
        (
            {"shadow": O.Shadow(kind=O.SHADOW_KIND_DROP), **behind(inpaint=O.BackgroundInpaint())},
            "shows no subject that could throw one",
        ),
        (
            {"crop": O.Crop(circle=True), "format": O.FORMAT_JPEG, **behind(color="red")},
            "outside of crop.circle a composite is transparent",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_field_and_the_way_out(
    serve: Serve, options: dict[str, object], sentence: str
) -> None:
    async with serve() as served:
        assert sentence in await refusal(served, **options)


async def test_a_picture_behind_counts_against_the_memory_like_a_source(serve: Serve) -> None:
    image = O.BackgroundImage(image=flat((1, 2, 3), 600, 600))  # 1.4 MB decoded
    async with serve(max_inflight_mb=1) as served:
        assert "--max-inflight-mb" in await refusal(served, **behind(image=image))
        await ask(served)


async def test_a_picture_beyond_the_limits_is_refused_by_its_header(serve: Serve) -> None:
    image = O.BackgroundImage(image=flat((1, 2, 3), 200, 200))
    async with serve(max_megapixels=0.02) as served:
        said = await refusal(served, **behind(image=image))
        assert "background.image.image" in said
        assert "200x200" in said


async def test_a_streams_picture_is_decoded_at_its_config_and_its_memory_given_back(
    serve: Serve,
) -> None:
    options = O.RemoveOptions(**behind(image=O.BackgroundImage(image=flat((9, 80, 9)))))  # type: ignore[arg-type]
    async with serve() as served:
        call = served.removal.RemoveStream()
        await call.write(config_message(options=options))
        started = await call.read()
        assert started.WhichOneof("message") == "started"
        assert served.app.admission.bytes == 10 * 10 * 3
        await call.write(frame_message(1, scene()))
        frame = (await call.read()).frame
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        raw = np.frombuffer(frame.result.raw.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
        assert (raw[4, 4] == (9, 80, 9)).all()
        assert served.app.admission.bytes == 0


async def test_a_streams_bad_picture_ends_it_before_the_first_frame(serve: Serve) -> None:
    broken = O.BackgroundImage(image=image_pb2.Image(encoded=b"GIF89a"))
    async with serve() as served:
        call = served.removal.RemoveStream()
        await call.write(config_message(options=O.RemoveOptions(**behind(image=broken))))  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "background.image.image" in str(caught.value.details())
