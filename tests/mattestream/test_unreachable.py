"""A server that is not there, or is another one than was meant: the sentence says what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest

from mattestream import Client, InvalidRequest, MessageTooLarge, Tls, Unavailable
from mattestream.errors import from_rpc_error, from_status
from mattestream.grpc_words import own_words


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else can take."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))  # bound without listening: connections are refused
        yield held.getsockname()[1]


def test_a_server_that_is_down_is_named_with_what_to_look_at(closed_port):
    address = f"127.0.0.1:{closed_port}"
    words = rf"no connection to ipv4:{address}: nobody answers there: start a server"
    with Client(address, retries=False) as client, pytest.raises(Unavailable, match=words):
        client.remove(b"x")


def test_a_socket_that_is_not_there_is_named(tmp_path):
    words = rf"no connection to unix:{tmp_path}/no\.sock: nobody answers there"
    with (
        Client(f"unix:{tmp_path}/no.sock", retries=False) as client,
        pytest.raises(Unavailable, match=words),
    ):
        client.remove(b"x")


def test_tls_on_one_end_only_is_told(script):
    with (
        Client(script.address, tls=True, retries=False) as client,
        pytest.raises(Unavailable, match="no TLS connection: does the server speak TLS"),
    ):
        client.remove(b"x")


def test_a_host_that_no_one_knows_is_told():
    with (
        Client("nobody.invalid:1", retries=False) as client,
        pytest.raises(Unavailable, match="no host that can be found: check its name"),
    ):
        client.remove(b"x")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "http://127.0.0.1:50051",
        "127.0.0.1:99999",
        "127.0.0.1:0",
        ":50051",
        "::1:50051",
        "a b:1",
        "",
        8080,
    ],
)
def test_what_is_no_address_is_refused_before_any_call(address):
    with pytest.raises(InvalidRequest, match=r"address is .*: give host:port, as in 127"):
        Client(address)


@pytest.mark.parametrize(
    "address", ["localhost:1", "[::1]:50051", "unix:/run/x.sock", "dns:///a.example:1", "a_b.c:80"]
)
def test_what_grpc_can_reach_is_taken(address):
    Client(address).close()


@pytest.mark.parametrize("limit", [0, -1, 2048, 0.5, "64"])
def test_a_limit_that_no_message_has_is_refused(limit):
    with pytest.raises(InvalidRequest, match=r"max_message_mib is .*: give a whole number from 1"):
        Client(max_message_mib=limit)


@pytest.mark.parametrize("value", ["ca.pem", b"secret, no PEM"])
def test_a_certificate_that_is_no_pem_is_refused_without_being_shown(value):
    with pytest.raises(InvalidRequest, match=r"private_key is .* no PEM: give the bytes") as caught:
        Tls(private_key=value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (
            "SERVER: Received message larger than max (243000027 vs. 67108864)",
            (
                "the request is 231.7 MiB, over the limit of a message (64 MiB): send an encoded "
                "or a smaller image, or start the server with --max-message-mb 232"
            ),
        ),
        (
            "CLIENT: Received message larger than max (8388609 vs. 4194304)",
            (
                "the answer is 8.0 MiB, over the limit of a message (4 MiB): ask for another "
                "format, or raise max_message_mib to 9"
            ),
        ),
    ],
)
def test_an_over_long_message_is_told_with_both_sizes_and_both_ways_out(details, words):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert own_words(code, details) == words
    assert isinstance(from_status(code, words), MessageTooLarge)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_sentence_of_the_server_is_never_touched(code):
    sentence = "the server is full (64 of 64 images): come back in 0.2 s"
    assert own_words(code, sentence) == sentence


FAILED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:5: "
HTTP1 = "Failed parsing HTTP/2 (Trying to connect an http1.x server (HTTP status 404))"
OTHER_NAME = (
    "Custom verification check failed: UNAUTHENTICATED: Hostname Verification Check failed."
)
BROKEN = "Stream removed (recvmsg:Connection reset by peer (104))"
# What grpcio 1.85 says, and how the sentence begins that is made of it.
WORDS = {
    BROKEN: "the connection broke while the call was under way: call again (recvmsg:",
    FAILED + OTHER_NAME: "no connection to ipv4:127.0.0.1:5: its certificate is for another name",
    FAILED + "Socket closed": "no connection to ipv4:127.0.0.1:5: the connection was closed at",
    FAILED + HTTP1: "no connection to ipv4:127.0.0.1:5: what answers there speaks HTTP/1: gRPC has",
}


@pytest.mark.parametrize("details", WORDS)
def test_what_grpc_says_of_a_connection_gets_its_meaning(details):
    assert own_words(grpc.StatusCode.UNAVAILABLE, details).startswith(WORDS[details])


class Late(grpc.RpcError):
    """What grpc raises when the client's own clock has run out."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self) -> str:
        return "Deadline Exceeded"

    def trailing_metadata(self) -> None:
        return None


def test_the_clients_own_deadline_names_its_setting():
    assert "within timeout_s: allow more time" in str(from_rpc_error(Late()))
