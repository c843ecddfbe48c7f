from __future__ import annotations

import logging
import types

import pytest

from models import tensorrt_library
from models.errors import LibraryMissing
from models.tensorrt_library import LastWords, count_cuda_devices, missing, open_tensorrt


class FakeLogger:
    """As much of an ILogger as a module needs to be opened."""

    Severity = types.SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)


def fake(version):
    return types.SimpleNamespace(__version__=version, ILogger=FakeLogger)


def loader(**there):
    def load(name):
        found = there.get(name)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(found, Exception):
            raise found
        return found

    return load


@pytest.fixture(autouse=True)
def nothing_opened(monkeypatch):
    monkeypatch.setattr(tensorrt_library, "_opened", {})


def test_tensorrt_comes_before_tensorrt_rtx():
    opened = open_tensorrt("auto", loader(tensorrt=fake("11.4.0"), tensorrt_rtx=fake("1.7.1")))
    assert (opened.title, opened.is_rtx) == ("tensorrt 11.4.0", False)


def test_tensorrt_rtx_stands_in_where_tensorrt_is_not():
    opened = open_tensorrt("auto", loader(tensorrt_rtx=fake("1.7.1.116")))
    assert (opened.title, opened.is_rtx) == ("tensorrt-rtx 1.7.1.116", True)


def test_without_both_the_sentence_says_what_adds_either():
    with pytest.raises(LibraryMissing) as raised:
        open_tensorrt("auto", loader())
    assert str(raised.value) == (
        "tensorrt is not installed (pip install tensorrt-cu13), and "
        "tensorrt-rtx is not installed (pip install tensorrt_rtx)"
    )


def test_the_one_asked_for_is_not_replaced():
    with pytest.raises(LibraryMissing, match=r"^tensorrt is not installed"):
        open_tensorrt("tensorrt", loader(tensorrt_rtx=fake("1.7.1")))


def test_an_old_version_is_refused_with_both_numbers():
    with pytest.raises(LibraryMissing, match=r"tensorrt 10\.2\.0 is installed, 10\.3 or newer"):
        open_tensorrt("tensorrt", loader(tensorrt=fake("10.2.0")))


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.11: cannot open shared object file"),
        OSError("libnvinfer.so.11: cannot open shared object file"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
)
def test_a_library_that_does_not_load_says_why(error):
    with pytest.raises(LibraryMissing) as raised:
        open_tensorrt("tensorrt", loader(tensorrt=error))
    assert str(raised.value).startswith(f"tensorrt is installed but does not load: {error}")


def test_an_unknown_choice_lists_those_there_are():
    with pytest.raises(LibraryMissing, match="allowed are 'auto', 'tensorrt', 'tensorrt-rtx'"):
        open_tensorrt("trt")  # type: ignore[arg-type]


def test_missing_is_the_sentence_or_nothing(monkeypatch):
    monkeypatch.setattr(tensorrt_library, "open_tensorrt", lambda choice: fake("11.4"))
    assert missing() == ""
    monkeypatch.undo()
    monkeypatch.setattr(tensorrt_library, "MODULES", {"tensorrt": "no_such_module"})
    assert missing("tensorrt") == "tensorrt is not installed (pip install tensorrt-cu13)"


def test_a_library_is_opened_once():
    load = loader(tensorrt_rtx=fake("1.7.1"))
    assert open_tensorrt("tensorrt-rtx", load) is open_tensorrt("auto", load)


def test_complaints_go_to_the_log_and_errors_are_kept_for_the_next_sentence(caplog):
    class Logger:
        Severity = FakeLogger.Severity

    module = types.SimpleNamespace(__version__="11.4", ILogger=Logger)
    opened = open_tensorrt("tensorrt", loader(tensorrt=module))
    with caplog.at_level(logging.DEBUG, "models.tensorrt_library"):
        opened.logger.log(Logger.Severity.ERROR, "it\n  broke")
        opened.logger.log(Logger.Severity.WARNING, "mind the gap")
        opened.logger.log(Logger.Severity.VERBOSE, "chatter")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert opened.words.take() == "it broke"
    assert opened.words.take() == "it gave no reason"


def test_last_words_are_few_and_each_is_said_once():
    words = LastWords()
    for number in range(100):
        words.keep(f"error {number // 2}")
    assert words.take() == "error 46; error 47; error 48; error 49"


def test_the_real_library_writes_to_the_log(library, caplog):
    network = library.module.Builder(library.logger).create_network(0)
    parser = library.module.OnnxParser(network, library.logger)  # it does not keep its network
    library.words.take()
    with caplog.at_level(logging.ERROR, "models.tensorrt_library"):
        assert not parser.parse(b"garbage")
    assert "Failed to parse" in caplog.text
    assert "Failed to parse" in library.words.take()


class FakeDriver:
    def __init__(self, init=0, devices=2, code=0):
        self._init, self._devices, self._code = init, devices, code

    def cuInit(self, flags):  # noqa: N802
        return self._init

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self._devices
        return self._code


def test_devices_are_counted_by_the_driver():
    assert count_cuda_devices(lambda name: FakeDriver()) == 2


@pytest.mark.parametrize("driver", [FakeDriver(init=100), FakeDriver(code=3)])
def test_a_driver_that_does_not_start_counts_as_none(driver):
    assert count_cuda_devices(lambda name: driver) == 0


def test_no_driver_counts_as_none():
    def load(name):
        raise OSError(f"{name}: cannot open shared object file")

    assert count_cuda_devices(load) == 0
