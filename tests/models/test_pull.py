"""Fetching weights from a real web server, from files, and every way it can go wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading

import pytest

from models import weights
from models.errors import LicenceNotAccepted, PullFailed
from models.manifest import read_manifest
from models.pull import pull
from models.registry import Registry
from tests.fakes.publisher import Publisher
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def publisher(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def acorn(tmp_path, publisher):
    """A manifest that names the publisher's address, whose weights the publisher has."""
    folder = tmp_path / "models"
    folder.mkdir()
    manifest = read_manifest(write_tiny_model(folder, "acorn"))
    data = (folder / "acorn.onnx").read_bytes()
    (folder / "acorn.onnx").rename(tmp_path / "by-hand.onnx")
    publisher.files["/v1/acorn-v1.onnx"] = data
    return changed(
        manifest, file=None, url=f"{publisher.address}/v1/acorn-v1.onnx", size_bytes=len(data)
    )


def changed(manifest, **values):
    return dataclasses.replace(manifest, weights=dataclasses.replace(manifest.weights, **values))


def refused(manifest, tmp_path, **settings):
    """The sentence of a pull that fails, after which the cache is as empty as before."""
    with pytest.raises(PullFailed) as raised:
        pull(manifest, cache_dir=tmp_path / "cache", **settings)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    return str(raised.value)


def test_weights_come_from_the_publishers_address_and_can_then_be_loaded(tmp_path, acorn):
    seen = []
    pulled = pull(acorn, cache_dir=tmp_path / "cache", on_progress=lambda *at: seen.append(at))
    assert not pulled.was_there
    assert pulled.sha256 == acorn.weights.sha256
    assert seen[-1] == (pulled.size_bytes, acorn.weights.size_bytes)
    assert weights.verified_weights(acorn, tmp_path / "cache").path == pulled.path


def test_a_second_pull_fetches_nothing(tmp_path, acorn, publisher):
    pull(acorn, cache_dir=tmp_path / "cache")
    assert pull(acorn, cache_dir=tmp_path / "cache").was_there
    assert len(publisher.asked) == 1


def test_damaged_weights_in_the_cache_are_fetched_again(tmp_path, acorn):
    path = pull(acorn, cache_dir=tmp_path / "cache").path
    path.write_bytes(b"damaged")
    assert not pull(acorn, cache_dir=tmp_path / "cache").was_there
    assert weights.sha256_of(path) == acorn.weights.sha256


def test_a_mirrors_base_address_gets_the_publishers_file_name(tmp_path, acorn, publisher):
    publisher.files["/mirror/acorn-v1.onnx"] = publisher.files["/v1/acorn-v1.onnx"]
    for base in ("/mirror", "/mirror/"):
        pull(acorn, cache_dir=tmp_path / base.strip("/"), source=f"{publisher.address}{base}")
    assert set(publisher.asked) == {"/mirror/acorn-v1.onnx"}


def test_an_address_that_ends_in_onnx_is_the_file_itself(tmp_path, acorn, publisher):
    publisher.files["/other.onnx"] = publisher.files["/v1/acorn-v1.onnx"]
    pull(acorn, cache_dir=tmp_path / "cache", source=f"{publisher.address}/other.onnx")
    assert publisher.asked == ["/other.onnx"]


def test_weights_come_from_a_file_without_any_network(tmp_path, acorn, publisher):
    for source in (tmp_path / "by-hand.onnx", (tmp_path / "by-hand.onnx").as_uri()):
        cache = tmp_path / f"cache-{len(str(source))}"
        assert pull(acorn, cache_dir=cache, source=source).sha256 == acorn.weights.sha256
    assert publisher.asked == []


def test_weights_come_from_a_folder_that_holds_the_publishers_file_name(tmp_path, acorn):
    (tmp_path / "by-hand.onnx").rename(tmp_path / "acorn-v1.onnx")
    assert pull(acorn, cache_dir=tmp_path / "cache", source=tmp_path).sha256


def test_other_bytes_are_refused_with_both_digests_and_nothing_is_kept(tmp_path, acorn, publisher):
    wrong = bytes(acorn.weights.size_bytes)
    publisher.files["/v1/acorn-v1.onnx"] = wrong
    sentence = refused(acorn, tmp_path)
    assert hashlib.sha256(wrong).hexdigest() in sentence
    assert f"expected {acorn.weights.sha256}: nothing was kept" in sentence


def test_a_download_that_is_cut_off_says_how_far_it_came(tmp_path, acorn, publisher):
    def cut_off(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(acorn.weights.size_bytes))
        handler.end_headers()
        handler.wfile.write(b"abc")

    publisher.behave = cut_off
    assert f"ended after 3 of {acorn.weights.size_bytes} bytes: try again" in refused(
        acorn, tmp_path
    )


def test_a_missing_file_names_the_code_and_the_way_out(tmp_path, acorn, publisher):
    publisher.files.clear()
    sentence = refused(acorn, tmp_path)
    assert sentence == (
        f"{acorn.weights.url} answers 404 Not Found: give another source with --from"
    )


def test_a_file_that_says_it_is_too_large_is_not_read(tmp_path, acorn, publisher):
    publisher.files["/v1/acorn-v1.onnx"] += b"\0"
    size = acorn.weights.size_bytes
    assert f"has {size + 1} bytes or more, and these weights may have {size}" in refused(
        acorn, tmp_path
    )


def test_a_file_that_does_not_say_its_size_is_stopped_when_it_grows_too_large(
    tmp_path, acorn, publisher
):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(bytes(acorn.weights.size_bytes + 1))

    publisher.behave = endless
    assert "it is another file" in refused(acorn, tmp_path)


def test_no_server_at_all_is_one_sentence_with_the_way_out(tmp_path, acorn, publisher):
    with Publisher() as closed:
        address = closed.address
    gone = changed(acorn, url=f"{address}/acorn.onnx")
    sentence = refused(gone, tmp_path)
    assert "Connection refused. Without a network, bring the file by other means" in sentence
    assert "'mattestream models pull acorn --from FILE'" in sentence
    assert "\n" not in sentence


def test_a_server_that_falls_silent_is_given_up(tmp_path, acorn, publisher):
    publisher.behave = lambda handler: handler.server.released.wait(30)
    sentence = refused(acorn, tmp_path, silence_s=0.1)
    assert f"cannot fetch {acorn.weights.url}: timed out" in sentence


def test_a_redirect_is_followed_to_another_web_address(tmp_path, acorn, publisher):
    data = publisher.files["/v1/acorn-v1.onnx"]

    def once(handler):
        publisher.behave = None
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    publisher.behave = once
    publisher.files["/elsewhere"] = data
    assert pull(acorn, cache_dir=tmp_path / "cache").sha256 == acorn.weights.sha256


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_a_redirect_to_anything_else_is_not_followed(tmp_path, acorn, publisher, target):
    def away(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    publisher.behave = away
    sentence = refused(acorn, tmp_path)
    assert sentence.startswith(("cannot fetch", acorn.weights.url))
    assert "redirect" in sentence.lower()
    assert target in sentence
    assert len(publisher.asked) == 1


def test_a_file_that_is_not_there_is_a_sentence(tmp_path, acorn):
    sentence = refused(acorn, tmp_path, source=tmp_path / "none.onnx")
    assert sentence == f"cannot read {tmp_path / 'none.onnx'}: No such file or directory"


def test_an_unknown_kind_of_address_is_refused(tmp_path, acorn):
    assert "allowed are http, https and file addresses" in refused(
        acorn, tmp_path, source="s3://bucket/x.onnx"
    )


def test_an_address_that_is_none_is_refused(tmp_path, acorn):
    assert "which is no address" in refused(acorn, tmp_path, source="http://[bad")


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path, acorn):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(PullFailed, match=r"cannot write .*: (Not a directory|File exists)"):
        pull(acorn, cache_dir=tmp_path / "cache")


def test_a_model_without_an_address_asks_for_one(tmp_path, acorn):
    local = changed(acorn, file=tmp_path / "acorn.onnx", url=None)
    assert "names no address to pull from: give one with --from" in refused(local, tmp_path)


def test_weights_without_a_pin_are_not_fetched_before_their_user_pins_them(
    tmp_path, acorn, publisher
):
    sentence = refused(changed(acorn, sha256=None), tmp_path)
    assert "has no pinned digest" in sentence
    assert "--sha256 HEX" in sentence
    assert "--trust-on-first-use" in sentence
    assert publisher.asked == []


def test_a_digest_given_by_the_user_is_checked_and_pinned(tmp_path, acorn):
    unpinned = changed(acorn, sha256=None)
    wrong = refused(unpinned, tmp_path, sha256="0" * 64)
    assert f"expected {'0' * 64}" in wrong
    pulled = pull(unpinned, cache_dir=tmp_path / "cache", sha256=acorn.weights.sha256.upper())
    assert pulled.pinned_now
    assert weights.read_pin(pulled.path) == acorn.weights.sha256


def test_what_was_trusted_on_first_use_is_pinned_from_then_on(tmp_path, acorn):
    unpinned = changed(acorn, sha256=None)
    first = pull(unpinned, cache_dir=tmp_path / "cache", trust_on_first_use=True)
    assert pull(unpinned, cache_dir=tmp_path / "cache").was_there
    first.path.write_bytes(b"something else")
    with pytest.raises(weights.WeightsDamaged, match=f"expected {acorn.weights.sha256}"):
        weights.verified_weights(unpinned, tmp_path / "cache")


def test_trusting_again_does_not_take_other_bytes_than_the_first_time(tmp_path, acorn, publisher):
    unpinned = changed(acorn, sha256=None)
    first = pull(unpinned, cache_dir=tmp_path / "cache", trust_on_first_use=True)
    first.path.unlink()
    publisher.files["/v1/acorn-v1.onnx"] = bytes(acorn.weights.size_bytes)
    with pytest.raises(PullFailed, match=f"expected {acorn.weights.sha256}: nothing was kept"):
        pull(unpinned, cache_dir=tmp_path / "cache", trust_on_first_use=True)


def test_a_digest_that_contradicts_the_manifest_is_refused(tmp_path, acorn):
    sentence = refused(acorn, tmp_path, sha256="0" * 64)
    assert f"is pinned to sha256 {acorn.weights.sha256} by {acorn.path}" in sentence


def test_a_digest_that_is_none_is_refused(tmp_path, acorn):
    assert refused(acorn, tmp_path, sha256="abc") == (
        "--sha256 is 'abc'; allowed are 64 hex digits"
    )


def test_non_commercial_weights_are_not_fetched_before_their_licence_is_accepted(
    tmp_path, acorn, publisher
):
    bound = dataclasses.replace(acorn, commercial_use=False, license="CC-BY-NC-4.0")
    with pytest.raises(LicenceNotAccepted, match=re.escape("--accept-license acorn")):
        pull(bound, cache_dir=tmp_path / "cache")
    assert publisher.asked == []
    assert pull(bound, cache_dir=tmp_path / "cache", accepted_licences={"CC-BY-NC-4.0"}).sha256


def test_a_pulled_model_is_available_and_loads(tmp_path, acorn):
    text = acorn.path.read_text().replace('file = "acorn.onnx"', f'url = "{acorn.weights.url}"')
    acorn.path.write_text(text)
    registry = Registry([acorn.path.parent], tmp_path / "cache", shipped_dirs=())
    assert "models pull acorn" in registry.availability("acorn")
    pull(registry.manifest("acorn"), cache_dir=registry.cache_dir)
    assert registry.availability("acorn") == ""
    registry.load("acorn").close()
