"""The error table: whole, and every entry turns into the status and the sentence it should."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from grpc import StatusCode

import models
import server
from models import errors as model_errors
from server.admission import Overloaded
from server.codecs import errors as codec_errors
from server.codecs.nv_jpeg import NvJpegUnavailable
from server.config_key import ConfigError
from server.errors import TABLE, forget_frames, status_of, trailers
from server.evaluation.cases import BadTruth
from server.evaluation.dataset import BadDataset
from server.gateway.errors import HttpRefused
from server.gateway.intake import CallerGone
from server.image_job import GivenUp
from server.option_rules import InvalidOption

# Not a caller's to see: they end the start of the server, or become INTERNAL on purpose.
NOT_ON_THE_WIRE = {
    ConfigError,
    GivenUp,
    model_errors.ModelError,  # only its kinds are raised
    model_errors.EngineFailed,
    model_errors.PlanNotBuilt,
    model_errors.BuildCancelled,
    model_errors.AccuracyRefused,
    BadDataset,  # of `mattestream eval` alone
    BadTruth,
    CallerGone,  # nobody is there to hear of it
    NvJpegUnavailable,  # becomes a line in the log, or DeviceNotAvailable
}


def made(kind: type[Exception]) -> Exception:
    """An instance of `kind`, whatever its constructor wants."""
    if kind is Overloaded:
        return Overloaded("the reason", 250, "requests")
    if kind is model_errors.ManifestError:
        return model_errors.ManifestError(Path("x.toml"), ["the reason"])
    return kind("the reason")


def own_exceptions() -> set[type[Exception]]:
    """Every exception class that the server and the models define, by walking their modules."""
    found: set[type[Exception]] = set()
    for package in (server, models):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.startswith("models.training"):
                continue
            for _, thing in inspect.getmembers(importlib.import_module(module.name)):
                if (
                    inspect.isclass(thing)
                    and issubclass(thing, Exception)
                    and thing.__module__ == module.name
                    and not thing.__name__.startswith("_")
                ):
                    found.add(thing)
    return found


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_each_entry_becomes_its_status_with_the_exceptions_own_words(kind: type[Exception]) -> None:
    status = status_of(made(kind), "id")
    assert status.code is TABLE[kind]
    assert "the reason" in status.message
    assert not status.is_internal
    assert 1 <= status.number <= 16


def test_every_exception_of_ours_is_in_the_table_or_hidden_on_purpose() -> None:
    from server.app import StartError

    # What the HTTP door refuses by itself carries its own status.
    with_their_kinds = (*TABLE, StartError, HttpRefused)
    lost = {
        kind
        for kind in own_exceptions() - NOT_ON_THE_WIRE
        if not issubclass(kind, with_their_kinds)
    }
    assert lost == set()


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(codec_errors).values()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_kind_of_rejected_image_is_an_invalid_argument(kind: type[Exception]) -> None:
    error = kind.__new__(kind, "the reason")  # whatever else it takes to make one
    assert status_of(error, "id").code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "error", [ValueError("/etc/secret"), MemoryError(), model_errors.EngineFailed("/etc/secret")]
)
def test_what_is_not_in_the_table_is_internal_and_tells_nothing_but_the_id(
    error: Exception,
) -> None:
    status = status_of(error, "7f3a")
    assert status.code is StatusCode.INTERNAL
    assert status.message == "internal error, request 7f3a"
    assert status.is_internal


def test_a_sentence_too_long_for_a_header_is_cut() -> None:
    status = status_of(codec_errors.NotAnImage("x" * 9000), "id")
    assert len(status.message) == 1500
    assert status.message.endswith("…")


def test_a_status_without_a_hint_has_the_id_as_its_only_trailer() -> None:
    status = status_of(InvalidOption("no"), "id")
    assert trailers(status, "id") == (("x-request-id", "id"),)


def test_a_bad_picture_is_told_apart_from_a_bad_option() -> None:
    status = status_of(codec_errors.NotAnImage("no"), "id")
    assert ("mattestream-reason", "image") in trailers(status, "id")


def raise_with_a_cause() -> None:
    try:
        raise KeyError("cause")
    except KeyError as cause:
        raise ValueError("effect") from cause


def test_forgetting_frames_reaches_the_errors_behind() -> None:
    with pytest.raises(ValueError, match="effect") as caught:
        raise_with_a_cause()
    error = caught.value
    forget_frames(error)
    assert error.__traceback__ is None
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None
