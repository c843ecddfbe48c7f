"""Settings: sources and their order, the sentences of wrong ones, the table in the docs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.config import Config, keys
from server.config_docs import refreshed
from server.config_key import ConfigError, Key
from server.config_sources import load_config
from server.machine import usable_cores

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "mattestream.toml"


def test_without_any_source_the_defaults_hold() -> None:
    assert load_config() == Config()
    assert (Config().host, Config().port, Config().model) == ("127.0.0.1", 50051, "matte-s")


def test_flags_win_over_the_environment_and_that_over_the_file(toml: Path) -> None:
    toml.write_text('port = 1\nmax_requests = 2\nmax_streams = 3\nmodel = "from-file"\n')
    config = load_config(
        toml,
        {"MATTESTREAM_MAX_REQUESTS": "20", "MATTESTREAM_MAX_STREAMS": "30"},
        {"max_streams": "300", "port": None, "load": ()},
    )
    assert (config.port, config.max_requests, config.max_streams) == (1, 20, 300)
    assert config.model == "from-file"


def test_the_environment_can_name_the_file(toml: Path) -> None:
    toml.write_text("port = 7\n")
    assert load_config(None, {"MATTESTREAM_CONFIG": str(toml)}).port == 7


def test_lists_come_as_arrays_as_texts_with_commas_and_as_repeated_flags(toml: Path) -> None:
    toml.write_text('load = ["a", "b"]\n')
    assert load_config(toml).load == ("a", "b")
    assert load_config(toml, {"MATTESTREAM_LOAD": "c, d"}).load == ("c", "d")
    assert load_config(toml, {}, {"load": ("e", "f")}).load == ("e", "f")
    assert load_config(None, {"MATTESTREAM_MODEL_DIRS": "/a,/b"}).model_dirs == (
        Path("/a"),
        Path("/b"),
    )


def test_paths_know_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert load_config(flags={"cache_dir": "~/cache"}).cache_dir == Path("/somewhere/cache")


@pytest.mark.parametrize(
    ("text", "environ", "flags", "sentence"),
    [
        (
            "max_requests = 0",
            {},
            {},
            r"mattestream\.toml: max_requests is 0: it must be a whole number from 1",
        ),
        ('port = "x"', {}, {}, r"mattestream\.toml: port is 'x': it must be a whole number from 0"),
        ("port = true", {}, {}, r"port is True: it must be a whole number"),
        ("port = 1.5", {}, {}, r"port is 1\.5: it must be a whole number"),
        ("prot = 1", {}, {}, r"mattestream\.toml: unknown key prot: did you mean port\?"),
        ("a = [", {}, {}, r"mattestream\.toml is not valid TOML"),
        ("load = 3", {}, {}, r"load is 3: it must be a list of texts"),
        (
            "",
            {"MATTESTREAM_PORT": "99999"},
            {},
            r"environment variable MATTESTREAM_PORT is 99999: .* to 65535",
        ),
        (
            "",
            {"MATTESTREAM_DEVICE": "tpu"},
            {},
            r"MATTESTREAM_DEVICE is 'tpu': it must be auto, cpu, cuda, cuda:N or cuda:all",
        ),
        ("", {"MATTESTREAM_MAX_REQESTS": "1"}, {}, r"did you mean MATTESTREAM_MAX_REQUESTS\?"),
        (
            "",
            {},
            {"max_megapixels": "nan"},
            r"flag --max-megapixels is nan: it must be a number from",
        ),
        (
            "",
            {},
            {"drain_s": -1},
            r"flag --drain-s is -1.*: it must be a number from 0 to 3600 seconds",
        ),
        ("", {}, {"tls_cert": "x.pem"}, r"tls_cert is set but tls_key is not"),
        ("", {}, {"treads": 1}, r"unknown flag --treads: did you mean threads\?"),
        ('tls_cert = ["a"]', {}, {}, r"mattestream\.toml: tls_cert is \['a'\]: it must be a path"),
        ("cache_dir = {a = 1}", {}, {}, r"cache_dir is \{'a': 1\}: it must be a path"),
        (
            'device = ["cpu"]',
            {},
            {},
            r"device is \['cpu'\]: it must be auto, cpu, cuda, cuda:N or cuda:all",
        ),
        ('load = [["a"]]', {}, {}, r"load is \['a'\]: it must be a list of texts"),
        (f"drain_s = {10**400}", {}, {}, r"drain_s is 10+: it must be a number from 0 to 3600"),
        (f"port = {'9' * 5000}", {}, {}, r"mattestream\.toml is not valid TOML"),
        (
            "",
            {},
            {"cache_dir": "~no-such-user/x"},
            r"flag --cache-dir is '~no-such-user/x': there is no home folder of that name",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_source_and_what_is_allowed(
    toml: Path, text: str, environ: dict[str, str], flags: dict[str, object], sentence: str
) -> None:
    toml.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_config(toml, environ, flags)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config file .*absent\.toml: No such"):
        load_config(tmp_path / "absent.toml")


def test_variables_of_other_tools_under_our_prefix_are_left_alone() -> None:
    assert (
        load_config(None, {"MATTESTREAM_ADDRESS": "x", "MATTESTREAM_ALLOCATOR": "off"}) == Config()
    )


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.name)
def test_every_key_can_be_set_in_all_three_places(toml: Path, key: Key) -> None:
    example: object
    if key.choices:
        example = key.choices[-1]
    elif key.pattern:
        example = next(text for text in ("cuda:1", "frames") if key.takes_text(text))
    elif key.kind is bool:
        example = True
    elif key.kind in {int, float}:
        example = key.kind(max(key.low, 1))
    else:
        example = "x"
    partner = {"tls_cert": "tls_key", "tls_key": "tls_cert"}.get(key.name)
    extra = {partner: "y"} if partner else {}
    in_toml = str([example] if key.many else repr(example)).replace("'", '"')
    toml.write_text(f"{key.name} = {in_toml.replace('True', 'true')}\n")
    from_file = load_config(toml, {}, extra)
    from_environment = load_config(None, {key.env: str(example)}, extra)
    from_flags = load_config(None, {}, {key.name: str(example), **extra})
    assert from_file == from_environment == from_flags
    assert getattr(from_file, key.name) is not None


def test_threads_default_to_the_cores_this_process_may_use() -> None:
    assert Config(threads=3).worker_threads == 3
    assert 1 <= Config().worker_threads == usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("host", "exposed"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("localhost", False),
        ("[::1]", False),
        ("0.0.0.0", True),
        ("[::]", True),
        ("10.0.0.5", True),
    ],
)
def test_a_host_that_others_can_reach_is_known(host: str, exposed: bool) -> None:
    assert Config(host=host).is_exposed is exposed


def test_the_table_in_the_documentation_is_fresh() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    assert refreshed(page) == page, "run: python -m server.config_docs docs/operations.md"
