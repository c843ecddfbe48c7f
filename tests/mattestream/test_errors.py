from __future__ import annotations

import grpc
import pytest

from mattestream import errors


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0] != 0])
def test_every_status_becomes_an_exception_of_the_tree_with_its_text(code):
    error = errors.from_status(code, "what was seen")
    assert isinstance(error, errors.MattestreamError)
    assert type(error) is errors.BY_CODE.get(code, errors.ServerError)
    assert str(error) == "what was seen"


def test_the_drawing_in_the_docstring_names_every_class():
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MattestreamError)
    }
    drawn = {word for word in errors.__doc__.split() if word in classes}
    assert drawn == classes


def test_the_number_of_a_frame_error_means_the_same_as_the_status():
    assert type(errors.from_status(5, "no such model")) is errors.ModelNotFound


def test_an_unknown_number_is_the_servers_fault():
    assert type(errors.from_status(99, "?")) is errors.ServerError


def test_a_status_without_text_still_says_something():
    assert "INTERNAL" in str(errors.from_status(grpc.StatusCode.INTERNAL, ""))


def test_trailers_give_the_request_id_and_the_pause():
    trailers = (("x-request-id", "7f3a"), ("grpc-retry-pushback-ms", "1500"))
    error = errors.from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)
    assert isinstance(error, errors.Overloaded)
    assert (error.request_id, error.retry_after_s) == ("7f3a", 1.5)


@pytest.mark.parametrize("pushback", ["-1", "soon", ""])
def test_a_pause_that_is_no_pause_is_none(pushback):
    trailers = (("grpc-retry-pushback-ms", pushback),)
    error = errors.from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)
    assert error.retry_after_s is None


def test_a_message_over_grpcs_limit_is_told_apart_from_a_full_server():
    text = "CLIENT: Received message larger than max (9 vs. 4)"
    error = errors.from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    assert type(error) is errors.MessageTooLarge


def test_an_invalid_argument_about_the_picture_is_a_bad_image():
    trailers = ((errors.REASON_KEY, "image"),)
    error = errors.from_status(grpc.StatusCode.INVALID_ARGUMENT, "not an image", trailers)
    assert type(error) is errors.BadImage


def test_a_status_that_grpc_lost_during_a_write_is_unavailable():
    empty = grpc.aio.Metadata()
    lost = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, empty, empty, details="Internal error from Core"
    )
    error = errors.from_rpc_error(lost)
    assert type(error) is errors.Unavailable
    assert "open the stream anew" in str(error)


def test_binary_trailers_do_no_harm():
    trailers = (("grpc-status-details-bin", b"\xff\xfe"),)
    assert errors.from_status(grpc.StatusCode.INTERNAL, "x", trailers).request_id == ""
