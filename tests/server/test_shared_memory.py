"""Frames in shared memory: in and out, and every way to abuse it refused with a sentence while the
server goes on.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from mattestream.v1 import image_pb2, options_pb2, removal_pb2, removal_pb2_grpc
from server.shared_memory.policy import Policy, SharedMemoryRefused, SharedMemoryWrong, is_local
from server.shared_memory.region import Region
from server.shared_memory.regions import Regions
from tests.server.fakes import config_message, eventually, picture, request
from tests.server.serving import Serve, Served
from tests.server.streaming import read_all

SHM = Path("/dev/shm")
WIDTH, HEIGHT = 64, 48
RGB_BYTES = WIDTH * HEIGHT * 3
ALPHA_BYTES = WIDTH * HEIGHT


@dataclass
class Block:
    """A caller's region."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def put(self, data: bytes, offset: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def get(self, offset: int, nbytes: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(nbytes)


@pytest.fixture
def block() -> Iterator[Callable[..., Block]]:
    made = []

    def make(nbytes: int, prefix: str = "mstest-") -> Block:
        path = SHM / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
        path.write_bytes(bytes(nbytes))
        made.append(path)
        return Block(path)

    yield make
    for path in made:
        path.unlink(missing_ok=True)


def half_white() -> bytes:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, WIDTH // 2 :] = 255
    return rgb.tobytes()


def raw_image(name: str, offset: int = 0, byte_size: int = RGB_BYTES) -> image_pb2.Image:
    return image_pb2.Image(
        shared_memory=image_pb2.SharedMemoryImage(
            range=image_pb2.SharedMemoryRange(name=name, offset=offset, byte_size=byte_size),
            layout=image_pb2.PixelLayout(
                format=image_pb2.PIXEL_FORMAT_RGB8, width=WIDTH, height=HEIGHT
            ),
        )
    )


def alpha_to(name: str, offset: int, byte_size: int) -> options_pb2.RemoveOptions:
    return options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_ALPHA,
        format=options_pb2.FORMAT_RAW,
        shared_memory_output=image_pb2.SharedMemoryRange(
            name=name, offset=offset, byte_size=byte_size
        ),
    )


async def refused(served: Served, **fields: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.removal.Remove(removal_pb2.RemoveRequest(**fields))
    return caught.value.code(), str(caught.value.details())


async def still_serves(served: Served) -> None:
    assert (await served.removal.Remove(request())).result.encoded.data


ON = {"shared_memory": ("mstest-",)}


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_frame_goes_in_and_its_alpha_out_without_a_byte_in_the_messages(
    serve: Serve, block: Callable[..., Block], slash: str
) -> None:
    mine = block(RGB_BYTES + ALPHA_BYTES + 10)
    mine.put(half_white(), 5)
    async with serve(**ON) as served:
        answer = await served.removal.Remove(
            removal_pb2.RemoveRequest(
                image=raw_image(slash + mine.name, 5),
                options=alpha_to(slash + mine.name, 5 + RGB_BYTES, ALPHA_BYTES + 5),
            )
        )
        inline = await served.removal.Remove(
            removal_pb2.RemoveRequest(
                image=image_pb2.Image(
                    raw=image_pb2.RawImage(
                        layout=raw_image("x").shared_memory.layout, data=half_white()
                    )
                ),
                options=options_pb2.RemoveOptions(
                    output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
                ),
            )
        )
    result = answer.result
    assert result.WhichOneof("data") == "shared_memory"
    assert (result.width, result.height) == (WIDTH, HEIGHT)
    assert result.shared_memory.layout.format == image_pb2.PIXEL_FORMAT_GRAY8
    assert result.shared_memory.range.byte_size == ALPHA_BYTES
    assert mine.get(5 + RGB_BYTES, ALPHA_BYTES) == inline.result.raw.data
    assert mine.get(5 + RGB_BYTES + ALPHA_BYTES, 5) == bytes(5)
    assert answer.ByteSize() < 1000


async def test_an_encoded_file_may_lie_there_and_its_result_come_in_the_message(
    serve: Serve, block: Callable[..., Block]
) -> None:
    data = picture(600, 400) + bytes(300_000)  # longer than what is looked at for the header
    mine = block(len(data))
    mine.put(data)
    image = image_pb2.Image()
    image.shared_memory.range.name = mine.name
    image.shared_memory.range.byte_size = len(data)
    async with serve(**ON) as served:
        answer = await served.removal.Remove(removal_pb2.RemoveRequest(image=image))
    assert answer.report.source_format == "jpeg"
    assert answer.result.encoded.data.startswith(b"\x89PNG")


async def test_each_frame_of_a_stream_has_its_own_range(
    serve: Serve, block: Callable[..., Block]
) -> None:
    slot = RGB_BYTES + ALPHA_BYTES
    mine = block(3 * slot)
    async with serve(**ON) as served:
        stream = served.removal.RemoveStream()
        plain = options_pb2.RemoveOptions(edges=options_pb2.Edges(refine=options_pb2.REFINE_OFF))
        await stream.write(config_message(window=3, options=plain))
        await stream.read()
        for number in range(3):
            mine.put(bytes([number * 100]) * RGB_BYTES, number * slot)
            span = image_pb2.SharedMemoryRange(
                name=mine.name, offset=number * slot + RGB_BYTES, byte_size=ALPHA_BYTES
            )
            frame = removal_pb2.Frame(
                frame_id=number,
                image=raw_image(mine.name, number * slot),
                shared_memory_output=span,
            )
            await stream.write(removal_pb2.RemoveStreamRequest(frame=frame))
        await stream.done_writing()
        answers = await read_all(stream)
    assert [answer.WhichOneof("outcome") for answer in answers] == ["result"] * 3
    for number in range(3):
        alpha = mine.get(number * slot + RGB_BYTES, ALPHA_BYTES)
        assert np.abs(np.frombuffer(alpha, np.uint8).astype(int) - number * 100).max() <= 1


async def test_one_range_for_a_whole_stream_is_refused(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(ALPHA_BYTES)
    async with serve(**ON) as served:
        stream = served.removal.RemoveStream()
        await stream.write(config_message(options=alpha_to(mine.name, 0, ALPHA_BYTES)))
        assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Frame.shared_memory_output" in await stream.details()


async def test_shared_memory_is_off_unless_the_operator_says_so(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(RGB_BYTES)
    async with serve() as served:
        code, words = await refused(served, image=raw_image(mine.name))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "--shared-memory" in words


FOREIGN = ["other-secret", "mstest-../../etc/passwd", "/etc/passwd", "", "mstest-a/b", ".mstest-x"]


@pytest.mark.parametrize("name", [*FOREIGN, "mstest-" + "x" * 300, "mstest-\x00"])
async def test_a_name_outside_of_the_allowed_ones_is_never_looked_up(
    serve: Serve, name: str
) -> None:
    async with serve(**ON) as served:
        for fields in (
            {"image": raw_image(name)},
            {"image": request().image, "options": alpha_to(name, 0, 100)},
        ):
            code, words = await refused(served, **fields)
            assert code is grpc.StatusCode.PERMISSION_DENIED, words
        await still_serves(served)


HUGE = 2**64 - 1
RANGES = [(0, 0), (1, RGB_BYTES), (RGB_BYTES, 1), (HUGE, 1), (0, HUGE), (HUGE, HUGE), (2**63, 10)]


@pytest.mark.parametrize(("offset", "byte_size"), RANGES)
async def test_a_range_outside_of_the_region_is_refused(
    serve: Serve, block: Callable[..., Block], offset: int, byte_size: int
) -> None:
    mine = block(RGB_BYTES)
    async with serve(**ON) as served:
        for fields in (
            {"image": raw_image(mine.name, offset, byte_size)},
            {"image": request().image, "options": alpha_to(mine.name, offset, byte_size)},
        ):
            code, words = await refused(served, **fields)
            assert code is grpc.StatusCode.INVALID_ARGUMENT, words
        await still_serves(served)


async def test_a_range_that_is_not_what_the_layout_says_is_refused_before_a_byte_is_read(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(0)
    os.truncate(mine.path, 1 << 40)  # a sparse terabyte: nothing may be taken for it
    async with serve(**ON) as served:
        code, words = await refused(served, image=raw_image(mine.name, 0, 1 << 40))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"is {RGB_BYTES} bytes" in words
        image = image_pb2.Image()
        image.shared_memory.range.name = mine.name
        image.shared_memory.range.byte_size = 1 << 40
        code, words = await refused(served, image=image)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "--max-message-mb" in words


async def test_a_region_that_vanishes_is_closed_and_said_to_be_gone(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(RGB_BYTES)
    async with serve(**ON) as served:
        await served.removal.Remove(removal_pb2.RemoveRequest(image=raw_image(mine.name)))
        assert len(served.app.shared_memory.regions) == 1
        mine.path.unlink()
        code, words = await refused(served, image=raw_image(mine.name))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "there is no shared memory" in words
        assert len(served.app.shared_memory.regions) == 0


async def test_a_region_made_anew_under_its_name_is_opened_anew(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(RGB_BYTES)
    async with serve(**ON) as served:
        options = options_pb2.RemoveOptions(
            output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
        )
        ask = removal_pb2.RemoveRequest(image=raw_image(mine.name), options=options)
        assert max((await served.removal.Remove(ask)).result.raw.data) == 0
        mine.path.unlink()
        mine.path.write_bytes(b"\xff" * RGB_BYTES)
        assert min((await served.removal.Remove(ask)).result.raw.data) >= 254


@pytest.mark.parametrize("what", ["cut short", "removed"])
async def test_a_region_lost_while_its_frame_waits_fails_that_frame_alone(
    serve: Serve, block: Callable[..., Block], what: str
) -> None:
    mine, other = block(RGB_BYTES), block(ALPHA_BYTES)
    async with serve(threads=1, **ON) as served:
        gate = served.registry.engines["tiny"]
        gate.open.clear()
        first = served.removal.Remove(
            removal_pb2.RemoveRequest(
                image=request(picture(WIDTH, HEIGHT)).image,
                options=options_pb2.RemoveOptions(
                    output=options_pb2.OUTPUT_ALPHA,
                    format=options_pb2.FORMAT_RAW,
                    shared_memory_output=image_pb2.SharedMemoryRange(
                        name=other.name, byte_size=ALPHA_BYTES
                    ),
                ),
            )
        )
        await eventually(lambda: gate.running == 1, "the first is in work")
        second = served.removal.Remove(removal_pb2.RemoveRequest(image=raw_image(mine.name)))
        await eventually(lambda: served.app.admission.images == 2, "the second waits")
        for path in (mine.path, other.path):
            os.truncate(path, 10) if what == "cut short" else path.unlink()
        gate.open.set()
        codes = {await first.code(), await second.code()}
        # What was removed lives on until its last user is done; what was cut short is refused.
        assert grpc.StatusCode.INVALID_ARGUMENT in codes or what == "removed"
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
        await still_serves(served)
        await eventually(lambda: served.app.admission.bytes == 0, "all room is given back")
        assert served.app.admission.images == 0


async def test_a_link_a_folder_and_a_pipe_are_no_shared_memory(
    serve: Serve, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(RGB_BYTES))
    paths = [SHM / f"mstest-{os.getpid()}-{kind}" for kind in ("link", "folder", "pipe")]
    paths[0].symlink_to(secret)
    paths[1].mkdir()
    os.mkfifo(paths[2])
    try:
        async with serve(**ON) as served:
            for path in paths:
                code, words = await refused(served, image=raw_image(path.name))
                assert code is grpc.StatusCode.PERMISSION_DENIED, words
    finally:
        paths[0].unlink()
        paths[1].rmdir()
        paths[2].unlink()


async def test_a_result_larger_than_its_range_is_refused_and_nothing_is_written(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(RGB_BYTES + ALPHA_BYTES)
    async with serve(**ON) as served:
        code, words = await refused(
            served,
            image=raw_image(mine.name),
            options=alpha_to(mine.name, RGB_BYTES, ALPHA_BYTES - 1),
        )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"the result is {ALPHA_BYTES} bytes" in words
    assert mine.get(RGB_BYTES, ALPHA_BYTES) == bytes(ALPHA_BYTES)


async def test_only_raw_pixels_go_to_shared_memory(
    serve: Serve, block: Callable[..., Block]
) -> None:
    mine = block(RGB_BYTES)
    options = alpha_to(mine.name, 0, RGB_BYTES)
    options.format = options_pb2.FORMAT_PNG
    async with serve(**ON) as served:
        code, words = await refused(served, image=request().image, options=options)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "FORMAT_RAW" in words


async def test_a_full_server_refuses_a_shared_frame_without_copying_it(
    serve: Serve, block: Callable[..., Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = block(RGB_BYTES)
    reads: list[int] = []
    read = Region.read
    monkeypatch.setattr(
        Region, "read", lambda self, offset, n: reads.append(n) or read(self, offset, n)
    )
    async with serve(max_requests=1, **ON) as served:
        gate = served.registry.engines["tiny"]
        gate.open.clear()
        first = served.removal.Remove(request())
        await eventually(lambda: gate.running == 1, "the first is in work")
        code, _ = await refused(served, image=raw_image(mine.name))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.open.set()
        await first
    assert reads == []


async def test_callers_on_a_unix_socket_may_use_it_and_the_sockets_file_goes_with_the_server(
    serve: Serve, block: Callable[..., Block], tmp_path: Path
) -> None:
    mine = block(RGB_BYTES)
    socket = tmp_path / "s"
    async with serve(unix_socket=socket, **ON):
        assert socket.stat().st_mode & 0o077 == 0
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
            answer = await stub.Remove(removal_pb2.RemoveRequest(image=raw_image(mine.name)))
            assert answer.report.source_width == WIDTH
    assert not socket.exists()


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv4:127.8.0.1:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5000", True),
        ("unix:", True),
        ("unix:/run/x.sock", True),
        ("ipv4:10.0.0.7:5000", False),
        ("ipv6:%5B2001:db8::1%5D:5000", False),
        ("ipv6:%5B::ffff:10.0.0.7%5D:5000", False),
        ("ipv4:127.0.0.1.evil.example:5000", False),
        ("vsock:2:5000", False),
        ("", False),
    ],
)
def test_who_counts_as_a_caller_of_the_same_machine(peer: str, local: bool) -> None:
    assert is_local(peer) is local
    if not local:
        with pytest.raises(SharedMemoryRefused, match="same machine"):
            Policy(("mstest-",)).check_caller(peer)


def test_the_regions_kept_open_are_bounded_and_their_descriptors_closed(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    regions = Regions(tmp_path, most=3)
    for number in range(10):
        (tmp_path / f"r{number}").write_bytes(b"x")
        regions.get(f"r{number}", writable=False)
    assert len(regions) == 3
    assert descriptors() == before + 3
    regions.close()
    assert descriptors() == before


def test_a_region_dropped_while_it_is_used_can_be_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"def")
    regions = Regions(tmp_path, most=1)
    used = regions.get("a", writable=False)
    regions.get("b", writable=False)
    (tmp_path / "a").unlink()
    assert used.read(0, 3).tobytes() == b"abc"


def test_a_region_cut_short_between_check_and_read_is_an_error_not_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(1 << 20))
    region = Regions(tmp_path).get("a", writable=True)
    monkeypatch.setattr(Region, "check", lambda self, offset, nbytes: os.truncate(path, 4096))
    with pytest.raises(SharedMemoryWrong, match="cut short while it was read"):
        region.read(0, 1 << 20)


async def test_the_example_of_the_page_runs(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "shared-memory.md"
    examples = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    example = examples[1]  # by hand; the ring's is run by tests/mattestream, the last needs a GPU
    async with serve(shared_memory=("myapp-",)) as served:
        program = example.replace("127.0.0.1:50051", f"127.0.0.1:{served.app.port}")
        await asyncio.to_thread(exec, program, {})
    assert "255.0" in capsys.readouterr().out
