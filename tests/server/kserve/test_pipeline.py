"""A model as all of the background removal: files and pixels in; alphas, cut-outs, files out."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc

from mattestream.v1 import options_pb2, removal_pb2
from server.kserve.options import read_parameters
from tests.server.fakes import eventually, picture, request
from tests.server.serving import Serve, Served
from tests.server.triton import asks, client_of, failure, files, half_white, pixels, tensor


async def test_a_file_becomes_all_four_outputs_when_none_is_named(served: Served) -> None:
    async with client_of(served) as client:
        answer = await client.infer("tiny_pipeline", [files(picture(96, 64))])
        alpha, rgba = answer.as_numpy("alpha"), answer.as_numpy("rgba")
        assert alpha.shape == (1, 64, 96)
        assert (alpha[0, 32, 2], alpha[0, 32, -3]) == (0, 255)
        np.testing.assert_array_equal(rgba[..., 3], alpha)
        png = Image.open(io.BytesIO(answer.as_numpy("result")[0, 0]))
        np.testing.assert_array_equal(np.asarray(png), rgba[0])
        report = json.loads(answer.as_numpy("report")[0, 0])
        assert report["model"]["name"] == "tiny"
        assert report["source_width"] == 96


async def test_pixels_give_the_same_as_our_own_service(served: Served) -> None:
    rgb = half_white()
    wanted = request(picture(96, 64, kind="PNG"))
    wanted.options.output = options_pb2.OUTPUT_ALPHA
    wanted.options.format = options_pb2.FORMAT_RAW
    ours = (await served.removal.Remove(wanted)).result.raw.data
    async with client_of(served) as client:
        answer = await client.infer("tiny_pipeline", [pixels(rgb)], outputs=asks("alpha"))
        assert answer.as_numpy("alpha").tobytes() == ours
        assert answer.as_numpy("rgba") is None


async def test_an_alpha_runs_the_network_once_and_a_result_beside_it_once_more(
    served: Served,
) -> None:
    engine = served.registry.engines["tiny"]
    async with client_of(served) as client:
        for names, runs in (
            (("alpha",), 1),
            (("rgba", "alpha", "report"), 1),
            (("result",), 1),
            (("report",), 1),
            (("result", "alpha"), 2),
        ):
            engine.batches.clear()
            await client.infer("tiny_pipeline", [files(picture())], outputs=asks(*names))
            assert len(engine.batches) == runs, names


async def test_outputs_come_in_the_order_in_which_they_were_asked_for(served: Served) -> None:
    async with client_of(served) as client:
        answer = await client.infer(
            "tiny_pipeline", [files(picture())], outputs=asks("report", "rgba", "alpha")
        )
        names = [each.name for each in answer.get_response().outputs]
        assert names == ["report", "rgba", "alpha"]


@pytest.mark.parametrize(
    ("pixel_format", "channels"), [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("gray8", 1)]
)
async def test_channels_are_ordered_as_the_request_says(
    served: Served, pixel_format: str, channels: int
) -> None:
    rgb = half_white()
    rgb[:, :, 0] = 0  # no red
    source = {
        "rgb8": rgb,
        "bgr8": rgb[:, :, ::-1],
        "rgba8": np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
        "gray8": rgb[:, :, 2:],
    }[pixel_format]
    assert source.shape[2] == channels
    async with client_of(served) as client:
        answer = await client.infer(
            "tiny_pipeline",
            [pixels(np.ascontiguousarray(source))],
            outputs=asks("rgba"),
            parameters={"pixel_format": pixel_format},
        )
        shown = answer.as_numpy("rgba")[0, 32, -3, :3]
        assert shown[0] == (255 if pixel_format == "gray8" else 0)
        assert shown[2] == 255


async def test_a_batch_of_pictures_comes_back_in_order(served: Served) -> None:
    left = half_white()[:, ::-1]
    batch = [np.ascontiguousarray(each) for each in (half_white(), left, half_white())]
    async with client_of(served) as client:
        answer = await client.infer(
            "tiny_pipeline", [pixels(*batch)], outputs=asks("alpha", "result", "report")
        )
        alpha = answer.as_numpy("alpha")
        assert list(alpha[:, 32, -3]) == [255, 0, 255]
        assert answer.as_numpy("result").shape == answer.as_numpy("report").shape == (3, 1)


async def test_files_of_several_sizes_have_results_but_no_common_alpha(served: Served) -> None:
    both = files(picture(96, 64), picture(48, 32))
    async with client_of(served) as client:
        answer = await client.infer("tiny_pipeline", [both], outputs=asks("result"))
        sizes = [Image.open(io.BytesIO(each)).size for each in answer.as_numpy("result").ravel()]
        assert sizes == [(96, 64), (48, 32)]
        code, sentence = await failure(client.infer("tiny_pipeline", [both], outputs=asks("alpha")))
        assert (code, "48x32, 96x64" in sentence) == ("INVALID_ARGUMENT", True)
    await eventually(lambda: served.app.admission.bytes == 0, "all is free")
    assert served.app.admission.images == 0


async def test_options_are_parameters_by_their_path(served: Served) -> None:
    async with client_of(served) as client:
        answer = await client.infer(
            "tiny_pipeline",
            [files(picture())],
            outputs=asks("result", "alpha"),
            parameters={
                "output": "composite",
                "format": "jpeg",
                "quality": 95,
                "background.color": "red",
                "edges.threshold": 0.5,
            },
        )
        shown = Image.open(io.BytesIO(answer.as_numpy("result")[0, 0]))
        assert shown.format == "JPEG"
        red, green, _ = shown.getpixel((3, 3))  # type: ignore[misc]
        assert (red > 250, green < 5) == (True, True)
        assert set(np.unique(answer.as_numpy("alpha"))) == {0, 255}


async def test_a_crop_makes_smaller_tensors_and_looks_are_the_results_own(served: Served) -> None:
    async with client_of(served) as client:
        answer = await client.infer(
            "tiny_pipeline",
            [files(picture(96, 64))],
            outputs=asks("alpha", "rgba", "result"),
            parameters={
                "crop": True,  # tight around the subject, which is the right half
                "output": "composite",
                "background.blur.radius_px": 3.0,
                "edges.refine": "off",
            },
        )
        alpha, rgba = answer.as_numpy("alpha"), answer.as_numpy("rgba")
        _, height, width = alpha.shape
        assert 48 <= width < 60
        assert rgba.shape == (1, height, width, 4)
        shown = Image.open(io.BytesIO(answer.as_numpy("result")[0, 0]))
        assert (shown.size, shown.mode) == ((width, height), "RGB")


@pytest.mark.parametrize(
    ("output", "begins"), [("mask_rle", b'{"'), ("polygons", b'{"'), ("tensor", b"")]
)
async def test_results_that_are_no_files_come_as_bytes_or_json(
    served: Served, output: str, begins: bytes
) -> None:
    async with client_of(served) as client:
        answer = await client.infer(
            "tiny_pipeline",
            [files(picture(96, 64))],
            outputs=asks("result"),
            parameters={"output": output},
        )
        data = answer.as_numpy("result")[0, 0]
        assert data.startswith(begins)
        assert len(data) > 0
        if output == "tensor":
            assert len(data) == 3 * 64 * 96 * 4


def test_every_kind_of_option_can_be_written() -> None:
    read = read_parameters(
        {
            "output": "OUTPUT_ALPHA",
            "edges.refine": "fast",
            "edges.feather_px": 2,
            "keep_metadata": True,
            "crop.margin_top.px": 3.5,
            "background.inpaint": True,
        }
    )
    assert read.output == options_pb2.OUTPUT_ALPHA
    assert read.edges.refine == options_pb2.REFINE_FAST
    assert (read.edges.feather_px, read.crop.margin_top.px) == (2, 3.5)
    assert read.keep_metadata
    assert read.background.WhichOneof("kind") == "inpaint"


@pytest.mark.parametrize(
    ("parameters", "outputs", "words"),
    [
        ({"sharpen": 1}, ("alpha",), "'sharpen'"),
        ({"edges.sharpen": 1}, ("alpha",), "'edges.sharpen'"),
        ({"edges": 1}, ("alpha",), "group"),
        ({"edges.feather_px": "wide"}, ("alpha",), "a number"),
        ({"edges.feather_px": True}, ("alpha",), "a number"),
        ({"edges.feather_px": 1000}, ("alpha",), "0 to 100"),
        ({"keep_metadata": 1}, ("result",), "true or false"),
        ({"quality": -1}, ("result",), "whole number"),
        ({"format": "tga"}, ("result",), "png, webp"),
        ({"model": "other"}, ("alpha",), "model_name"),
        ({"shared_memory_output.name": "x"}, ("alpha",), "register"),
        ({"subject.points": True}, ("alpha",), "'subject.points'"),
        ({"tensor.mean": 1.0}, ("result",), "'tensor.mean'"),
        ({"__class__": 1}, ("alpha",), "'__class__'"),
        ({"format": "png"}, ("alpha",), "'result'"),
        ({"pixel_format": "rgb8"}, ("alpha",), "pixel_format"),
    ],
    ids=lambda value: "",
)
async def test_wrong_options_are_refused_by_name(
    served: Served, parameters: dict[str, object], outputs: tuple[str, ...], words: str
) -> None:
    async with client_of(served) as client:
        call = client.infer(
            "tiny_pipeline", [files(picture())], outputs=asks(*outputs), parameters=parameters
        )
        code, sentence = await failure(call)
        assert code == "INVALID_ARGUMENT"
        assert words in sentence


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "neither came"),
        ([files(picture()), pixels(half_white())], "both came"),
        ([tensor("photo", half_white()[None])], "'photo'"),
        ([tensor("image", half_white()[None])], "BYTES [N, 1]"),
        ([tensor("image", np.array([picture()], object))], "BYTES [N, 1]"),
        ([tensor("pixels", half_white())], "UINT8 [N, rows, columns"),
        ([tensor("pixels", np.zeros((1, 4, 4, 2), np.uint8))], "1, 3 or 4"),
        ([tensor("pixels", np.zeros((1, 4, 4, 3), np.float32))], "UINT8"),
        ([tensor("pixels", np.zeros((17, 4, 4, 3), np.uint8))], "up to 16"),
        ([files(*[picture(8, 8)] * 17)], "up to 16"),
        ([files(b"no picture at all")], "text"),
        ([files(b"")], ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_wrong_pictures_are_refused(served: Served, inputs: list[object], words: str) -> None:
    async with client_of(served) as client:
        code, sentence = await failure(client.infer("tiny_pipeline", inputs))
        assert code == "INVALID_ARGUMENT"
        assert words in sentence
    await eventually(lambda: served.app.admission.bytes == 0, "all is free")
    assert served.app.admission.images == 0


async def test_a_length_that_goes_past_the_end_is_refused(served: Served) -> None:
    message = service_pb2.ModelInferRequest(model_name="tiny_pipeline")
    message.inputs.add(name="image", datatype="BYTES", shape=[1, 1])
    message.raw_input_contents.append(b"\xff\xff\xff\xff" + picture())
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        await stub.ModelInfer(message)


async def test_one_bad_picture_of_a_batch_fails_the_request_and_leaves_nothing(
    served: Served,
) -> None:
    async with client_of(served) as client:
        both = files(picture(), b"broken", picture())
        assert (await failure(client.infer("tiny_pipeline", [both])))[0] == "INVALID_ARGUMENT"
    await eventually(lambda: served.app.admission.bytes == 0, "all is free")
    assert served.app.admission.images == 0
    (replica,) = served.app.host.state("tiny")[1].replicas  # type: ignore[union-attr]
    assert replica.users == 0


async def test_limits_of_size_hold(serve: Serve) -> None:
    async with serve(max_megapixels=0.001) as served, client_of(served) as client:
        for source in (files(picture()), pixels(half_white())):
            code, sentence = await failure(client.infer("tiny_pipeline", [source]))
            assert (code, "megapixels" in sentence or "MP" in sentence) == (
                "INVALID_ARGUMENT",
                True,
            )


async def test_both_services_answer_side_by_side(served: Served) -> None:
    async with client_of(served) as client:
        await client.infer("tiny_pipeline", [files(picture())], outputs=asks("alpha"))
        ours = await served.removal.Remove(removal_pb2.RemoveRequest(image=request().image))
        assert ours.result.encoded.data
