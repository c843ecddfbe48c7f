"""A small recurrent network: each frame's alpha is the mean of its brightness and of the alpha
before, times a constant.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import ManifestError
from models.recurrent import RecurrentModel
from models.registry import Registry
from server.app import App
from server.config import Config
from tests.fakes.recurrent_onnx import ECHO, write_echo
from tests.server.fakes import config_message
from tests.server.streams.test_smooth import grey


def test_states_are_handed_from_frame_to_frame(tmp_path: Path) -> None:
    model = Registry((write_echo(tmp_path),), shipped_dirs=()).load("echo")
    assert isinstance(model, RecurrentModel)
    image, states, seen = np.ones((1, 3, 16, 16), np.float32), None, []
    for _ in range(3):
        alpha, states = model.step(image, states)
        seen.append(float(alpha[0, 0]))
    assert seen == [0.5, 0.75, 0.875]
    assert model.run(image)[0, 0, 0] == 0.5  # an image outside of a stream has no frame before it
    model.close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('input = "before"', 'input = "befor"', "name the input 'befor', but the graph's inputs"),
        ('output = "after"', 'output = "then"', "name the output 'then', but the graph's outputs"),
        ("shape = [1, 1, 1, 1]", "shape = [2, 1, 1, 1]", "but the graph declares (1, 1, h, w)"),
        ("share = [0.5]", "", "the graph also needs 'share'"),
    ],
)
def test_states_that_do_not_fit_the_graph_get_a_sentence(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    there = Registry((write_echo(tmp_path, ECHO.replace(old, new)),), shipped_dirs=())
    with pytest.raises(ManifestError) as raised:
        there.load("echo")
    assert said in str(raised.value)


async def test_frames_of_a_stream_run_in_order_and_each_stream_has_its_own_states(
    tmp_path: Path,
) -> None:
    import grpc

    from mattestream.v1 import options_pb2, removal_pb2_grpc

    registry = Registry((write_echo(tmp_path),), shipped_dirs=())
    config = Config(port=0, metrics_port=-1, http_port=0, model="echo", threads=3, device="cpu")
    async with (
        App(config, registry=registry) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel,
    ):
        stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
        for _ in range(2):
            stream = stub.RemoveStream()
            # Levels away from a cut to another scene, which would begin anew.
            # As the model gives them: refinement has its own idea of a picture of one grey.
            off = options_pb2.RemoveOptions(edges=options_pb2.Edges(refine=options_pb2.REFINE_OFF))
            messages = [config_message(options=off), *(grey(level) for level in (80, 80, 80, 100))]
            for message in messages:
                await stream.write(message)
            await stream.done_writing()
            assert (await stream.read()).WhichOneof("message") == "started"
            levels = [(await stream.read()).frame.result.raw.data[0] for _ in range(4)]
            assert levels == pytest.approx([40, 60, 70, 85], abs=1)
            assert await stream.read() is grpc.aio.EOF
