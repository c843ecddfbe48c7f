"""How an image moves through a device: one copy in, one out, nothing allocated, graphs replayed,
mistakes that stay where they were made.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from kernels.device import DeviceError, DeviceFull, DeviceLost, Stream
from models.errors import EngineFailed
from models.prepared_tensor import PreparedTensor
from server.codecs.errors import ImageRejected
from server.codecs.header import Limits
from server.codecs.nv_jpeg import DecodedOnDevice
from server.device_pipeline import DevicePipeline
from server.device_slots import SlotRing
from server.job import EncodedSource, Format, Options, Output, PixelFormat, RawSource, Source
from server.pipeline import remove_one
from tests.fakes.emulated_device import EmulatedDevice
from tests.kernels.cuda.arrays import put
from tests.server.device.conftest import LIMITS, OnDevice, on_device
from tests.server.fakes import PATIENCE_S, picture

ALPHA = Options(output=Output.ALPHA, format=Format.RAW)


def flat(shade: int, width: int = 48, height: int = 32) -> RawSource:
    return RawSource(bytes([shade]) * (3 * width * height), PixelFormat.RGB8, width, height)


def run_many(pipeline, sources, options=ALPHA):  # type: ignore[no-untyped-def]
    """The outcomes of pictures that share one run."""
    seats = [pipeline.seat() for _ in sources]
    slots = [seat.__enter__() for seat in seats]
    try:
        opened = [
            pipeline.open(source, options, slot)
            for source, slot in zip(sources, slots, strict=True)
        ]
        answers = pipeline.run(opened)
        return [
            pipeline.close(image, answer, options)
            for image, answer in zip(opened, answers, strict=True)
        ]
    finally:
        for seat in seats:
            seat.__exit__(None, None, None)


@pytest.mark.parametrize("output", [Output.ALPHA, Output.CUTOUT])
def test_one_copy_goes_in_and_one_comes_out(brightness: OnDevice, output: Output) -> None:
    options = Options(output=output, format=Format.RAW)
    outcomes = run_many(brightness.pipeline, [flat(9), flat(200), flat(77)], options)
    for outcome in outcomes:
        copies = outcome.copies
        assert (copies.host_to_device, copies.device_to_host) == (1, 1)
        assert copies.host_to_device_bytes == 48 * 32 * 3
        channels = 1 if output is Output.ALPHA else 4
        assert copies.device_to_host_bytes == 256 + 48 * 32 * channels


def test_nv12_goes_up_as_it_came(brightness: OnDevice) -> None:
    source = RawSource(bytes(48 * 32 * 3 // 2), PixelFormat.NV12, 48, 32)
    outcome = remove_one(brightness.pipeline, source, ALPHA).outcome
    assert outcome.copies.host_to_device_bytes == 48 * 32 * 3 // 2


def test_nothing_is_allocated_once_the_slots_have_grown(brightness: OnDevice) -> None:
    sources = [flat(shade, 9, 7) for shade in (1, 2, 3)]
    run_many(brightness.pipeline, sources)
    before = brightness.device.allocations
    for _ in range(10):
        run_many(brightness.pipeline, sources)
    assert brightness.device.allocations == before


def test_smaller_pictures_use_the_same_memory(brightness: OnDevice) -> None:
    remove_one(brightness.pipeline, flat(1, 200, 100), ALPHA)
    before = brightness.device.allocations
    for size in ((1, 1), (199, 99), (30, 7)):
        remove_one(brightness.pipeline, flat(1, *size), ALPHA)
    assert brightness.device.allocations == before


@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_every_batch_size_is_the_replay_of_a_graph(brightness: OnDevice, images: int) -> None:
    run_many(brightness.pipeline, [flat(60 * number) for number in range(images)])
    assert brightness.launches == [True]


def test_a_graph_gives_what_plain_launches_give(folder: Path) -> None:
    rng = np.random.default_rng(3)
    sources = [
        RawSource(rng.integers(0, 256, 3 * 50 * 40, np.uint8).tobytes(), PixelFormat.RGB8, 50, 40)
        for _ in range(3)
    ]
    for made in on_device(folder, "brightness"):
        replayed = [outcome.encoded.data for outcome in run_many(made.pipeline, sources)]
        for batch in made.model.batches:
            batch._graphs.clear()
        plain = [outcome.encoded.data for outcome in run_many(made.pipeline, sources)]
        assert made.launches == [True, False]
        assert replayed == plain


def test_an_engine_that_cannot_be_recorded_is_launched_plainly_and_the_metric_says_so(
    folder: Path,
) -> None:
    for made in on_device(folder, "brightness"):
        made.engine.can_be_captured = False
        for batch in made.model.batches:
            batch._graphs.clear()
        made.model.warm()
        assert [outcome.encoded.data[0] for outcome in run_many(made.pipeline, [flat(90)])] == [90]
        assert made.launches == [False]
        assert [batch.recorded for batch in made.model.batches] == [[], []]


def test_values_that_are_no_numbers_fail_the_run(folder: Path) -> None:
    for made in on_device(folder, "nan"):
        with pytest.raises(EngineFailed, match=r"model 'nan' .* answered values that are not num"):
            run_many(made.pipeline, [flat(1)])


def test_an_engine_that_refuses_leaves_the_pipeline_usable(brightness: OnDevice) -> None:
    for batch in brightness.model.batches:
        batch._graphs.clear()
    for _ in range(5):  # more often than there are batches in flight
        brightness.engine.refuses = True
        with pytest.raises(EngineFailed, match="refuses"):
            run_many(brightness.pipeline, [flat(1)])
        brightness.engine.refuses = False
        assert run_many(brightness.pipeline, [flat(33)])[0].encoded.data[0] == 33


def test_a_device_that_does_nothing_any_more_is_told_and_every_run_says_the_same(
    brightness: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[DeviceError] = []
    pipeline = DevicePipeline(brightness.model, LIMITS, on_lost=lost.append)
    with monkeypatch.context() as patched:

        def dead(waited: object) -> None:
            raise DeviceError("an illegal address was met")

        patched.setattr(brightness.device, "synchronize", dead)
        for _ in range(4):  # more often than there are batches in flight
            with pytest.raises(DeviceLost, match="is lost: an illegal address"):
                run_many(pipeline, [flat(1)])
    assert len(lost) == 4
    assert run_many(pipeline, [flat(8)])[0].encoded.data[0] == 8


def test_one_refusal_is_not_the_loss_of_the_device(
    brightness: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[DeviceError] = []
    pipeline = DevicePipeline(brightness.model, LIMITS, on_lost=lost.append)

    def refused(*_: object, **__: object) -> None:
        raise DeviceError("the launch was refused")

    with monkeypatch.context() as patched:
        patched.setattr(brightness.device, "launch", refused)
        with pytest.raises(DeviceError, match="refused"):
            run_many(pipeline, [flat(1)])
    assert not lost


def test_a_bad_picture_gives_its_slot_back(brightness: OnDevice) -> None:
    for _ in range(brightness.pipeline.seats + 1):
        with pytest.raises(ImageRejected):
            remove_one(brightness.pipeline, EncodedSource(b"\xff\xd8\xff no picture"), ALPHA)
    assert remove_one(brightness.pipeline, EncodedSource(picture()), ALPHA).outcome.encoded.data


def test_two_runs_at_once_do_not_mix(brightness: OnDevice) -> None:
    wrong: list[object] = []

    def work(shade: int) -> None:
        for _ in range(10):
            outcomes = run_many(brightness.pipeline, [flat(shade, 9, 7), flat(shade + 1, 8, 8)])
            seen = [set(outcome.encoded.data) for outcome in outcomes]
            if seen != [{shade}, {shade + 1}]:
                wrong.append((shade, seen))

    threads = [threading.Thread(target=work, args=(shade,)) for shade in (10, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not wrong


def test_a_jpeg_is_decoded_where_it_goes_up_from(brightness: OnDevice) -> None:
    pipeline = brightness.pipeline
    with pipeline.seat() as slot:
        opened = pipeline.open(EncodedSource(picture(96, 64)), ALPHA, slot)
        host, _ = slot.input
        assert opened.decoded is not None
        assert opened.decoded.rgb.ctypes.data == host.ctypes.data
        pipeline.run([opened])


class DecodesThere:
    """A JPEG decoder on the emulated device; takes what `takes` says. `reused` lists what came
    back to it.
    """

    def __init__(self, device: EmulatedDevice, *, takes: bool = True) -> None:
        self.takes = takes
        self.reused: list[object] = []
        self._device = device

    def decode(self, data: bytes, stream: Stream, *, reuse: object) -> DecodedOnDevice | None:
        if not self.takes:
            return None
        self.reused.append(reuse)
        rgb = simplejpeg.decode_jpeg(data)
        height, width = rgb.shape[:2]
        stride = 3 * width + 32
        padded = np.pad(rgb.reshape(height, -1), ((0, 0), (0, 32)))
        memory = put(self._device, padded)  # type: ignore[arg-type]
        return DecodedOnDevice(memory.address, stride, width, height, memory)


def decoding_there(made: OnDevice, decoder: DecodesThere) -> DevicePipeline:
    return DevicePipeline(made.model, LIMITS, jpeg=decoder)


def test_a_jpeg_decoded_on_the_device_gives_the_same_and_copies_its_file_alone(
    brightness: OnDevice,
) -> None:
    there = decoding_there(brightness, DecodesThere(brightness.device))
    data = picture(96, 64)
    outcome = remove_one(there, EncodedSource(data), ALPHA).outcome
    expected = remove_one(brightness.pipeline, EncodedSource(data), ALPHA)
    assert outcome.encoded.data == expected.outcome.encoded.data
    assert outcome.copies.host_to_device == 1
    assert outcome.copies.host_to_device_bytes == len(data)
    assert expected.opened.format == remove_one(there, EncodedSource(data), ALPHA).opened.format


def test_the_decoders_memory_comes_back_to_it_with_the_next_picture(brightness: OnDevice) -> None:
    decoder = DecodesThere(brightness.device)
    there = decoding_there(brightness, decoder)
    for _ in range(2):
        remove_one(there, EncodedSource(picture()), ALPHA)
    assert decoder.reused[0] is None
    assert isinstance(decoder.reused[1], DecodedOnDevice)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (EncodedSource(picture(kind="PNG")), ALPHA),
        (flat(7), ALPHA),
        (EncodedSource(picture()), Options(format=Format.ZIP)),
        (EncodedSource(picture()), Options(keep_metadata=True)),
    ],
    ids=["a PNG", "raw pixels", "a zip needs the colours here", "so does metadata"],
)
def test_what_the_device_does_not_decode_is_decoded_here(
    brightness: OnDevice, source: Source, options: Options
) -> None:
    decoder = DecodesThere(brightness.device)
    assert remove_one(decoding_there(brightness, decoder), source, options).outcome.encoded.data
    assert not decoder.reused


def test_what_the_decoder_refuses_is_decoded_here(brightness: OnDevice) -> None:
    there = decoding_there(brightness, DecodesThere(brightness.device, takes=False))
    outcome = remove_one(there, EncodedSource(picture(96, 64)), ALPHA).outcome
    assert outcome.copies.host_to_device_bytes == 96 * 64 * 3


def test_limits_are_checked_before_the_device_decodes(brightness: OnDevice) -> None:
    decoder = DecodesThere(brightness.device)
    small = DevicePipeline(
        brightness.model, Limits(max_megapixels=0.001, max_side_px=5000), jpeg=decoder
    )
    with pytest.raises(ImageRejected, match="MP"):
        remove_one(small, EncodedSource(picture(96, 64)), ALPHA)
    assert not decoder.reused


def test_who_asks_for_a_slot_more_than_there_are_waits_for_one() -> None:
    ring = SlotRing(EmulatedDevice(), 1, 1 << 20)
    got = threading.Event()

    def second() -> None:
        with ring.slot():
            got.set()

    with ring.slot():
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.05)
    assert got.wait(PATIENCE_S)
    thread.join()


@pytest.mark.parametrize(("budget", "kept"), [(2 << 20, True), ((2 << 20) - 1, False)])
def test_idle_slots_keep_no_more_than_their_budget(budget: int, kept: bool) -> None:
    device = EmulatedDevice()
    ring = SlotRing(device, 1, budget)
    for _ in range(2):
        before = device.allocations
        with ring.slot() as slot:
            slot.reserve_input(1000)  # blocks are whole MiB
            slot.reserve_output(1000)
    assert (device.allocations == before) is kept


def test_a_full_device_takes_back_what_idle_slots_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    device = EmulatedDevice()
    ring = SlotRing(device, 2, 1 << 30)
    with ring.slot() as first, ring.slot() as second:
        for slot in (first, second):
            slot.reserve_input(1000)
    real = device.allocate
    room = 1 << 20  # for one more MiB, once the idle slot's is back

    def bounded(nbytes: int):  # type: ignore[no-untyped-def]
        if sum(slot.kept_bytes for slot in ring._free) + nbytes > room:
            raise DeviceFull("no room")
        return real(nbytes)

    monkeypatch.setattr(device, "allocate", bounded)
    with ring.slot() as slot:
        slot.reserve_output(1000)
        assert slot.kept_bytes == 2 << 20


def test_planes_are_aligned_and_go_up_in_one_piece() -> None:
    device = EmulatedDevice()
    with SlotRing(device, 1, 0).slot() as slot:
        slot.reserve_input(2000)
        first, at_first = slot.add_plane(100)
        second, at_second = slot.add_plane(50)
        whole, address = slot.input
    assert (len(first), len(second), len(whole)) == (100, 50, 306)
    assert (address, at_second - address) == (at_first, 256)


def test_no_room_on_the_device_is_an_error_of_that_image(
    brightness: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(nbytes: int) -> None:
        raise DeviceFull(f"there is no room for {nbytes} bytes")

    with monkeypatch.context() as patched:
        patched.setattr(brightness.device, "allocate", full)
        with pytest.raises(DeviceFull, match="no room"):
            remove_one(brightness.pipeline, flat(1, 700, 600), ALPHA)
    assert remove_one(brightness.pipeline, flat(5, 700, 600), ALPHA).outcome.encoded.data[0] == 5


@pytest.mark.parametrize("images", [1, 3])
def test_prepared_tensors_go_through_the_network_alone(brightness: OnDevice, images: int) -> None:
    shape = (images, *brightness.model.engine.input.shape)
    batch = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    raw = brightness.pipeline.run_tensors(list(batch[:, None]))
    np.testing.assert_allclose(raw, batch.mean(axis=1, keepdims=True), atol=1e-5)
    assert raw.shape[1:] == brightness.model.output_shape
    # The batch's memory is there for the next picture.
    (outcome,) = run_many(brightness.pipeline, [flat(200)])
    assert abs(outcome.encoded.data[0] - 200) <= 1


def test_tensors_that_the_engine_refuses_leave_the_device_usable(brightness: OnDevice) -> None:
    batch = [np.zeros((1, *brightness.model.engine.input.shape), np.float32)]
    brightness.engine.refuses = True
    with pytest.raises(EngineFailed):
        brightness.pipeline.run_tensors(batch)
    brightness.engine.refuses = False
    assert not brightness.pipeline.run_tensors(batch).any()


@pytest.mark.parametrize("there", [(0, 1, 2), (1,), ()], ids=["all", "one of them", "none"])
def test_tensors_in_device_memory_are_taken_and_given_there(
    brightness: OnDevice, monkeypatch: pytest.MonkeyPatch, there: tuple[int, ...]
) -> None:
    device, model = brightness.device, brightness.model
    device.use()
    batch = np.random.default_rng(2).normal(size=(3, 3, 32, 32)).astype(np.float32)
    expected = brightness.pipeline.run_tensors(list(batch[:, None]))
    room = [device.allocate(model.engine.output.nbytes) for _ in there]
    sources = [put(device, batch[lane]) for lane in there]
    items: list[Any] = list(batch[:, None])
    for source, target, lane in zip(sources, room, there, strict=True):
        items[lane] = PreparedTensor(source.address, target.address)
    calls: list[str] = []
    for name in ("copy_in", "copy_out"):
        real = getattr(device, name)
        monkeypatch.setattr(
            device, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))
        )
    found = brightness.pipeline.run_tensors(items)
    assert calls == ([] if len(there) == 3 else ["copy_in", "copy_out"])
    for lane in range(3):
        answer = found[lane]
        if lane in there:
            answer = room[there.index(lane)].array.view(np.float32).reshape(expected[lane].shape)
        np.testing.assert_array_equal(answer, expected[lane])
