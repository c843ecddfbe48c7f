"""`mattestream keys`: what it prints is what the server's key file takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mattestream.cli.keys import keys
from server.auth import ApiKeys, NotAuthenticated
from server.config_key import ConfigError


def test_a_new_keys_line_lets_that_key_in_and_holds_no_trace_of_it(tmp_path: Path) -> None:
    printed = CliRunner().invoke(keys, ["--name", "team a"]).output.splitlines()
    key, line = printed[0].split()[1], printed[1].removeprefix("line  ")
    assert key not in line
    assert line.endswith(" team a")
    file = tmp_path / "keys"
    file.write_text(line + "\n")
    accepted = ApiKeys.read(file)
    accepted.check((("x-api-key", key),))
    with pytest.raises(NotAuthenticated):
        accepted.check((("x-api-key", line.split()[0]),))


def test_a_file_of_plain_keys_is_turned_into_a_hashed_one(tmp_path: Path) -> None:
    plain = "# team a\n0123456789abcdef\n\n"
    made = CliRunner().invoke(keys, ["--hash"], input=plain)
    assert made.exit_code == 0
    assert "0123456789abcdef" not in made.output
    file = tmp_path / "keys"
    file.write_text(made.output)
    ApiKeys.read(file).check((("x-api-key", "0123456789abcdef"),))


def test_a_short_key_is_not_hashed() -> None:
    refused = CliRunner().invoke(keys, ["--hash"], input="short\n")
    assert refused.exit_code != 0
    assert "16 or more" in refused.output


def test_a_damaged_digest_ends_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("sha256:12\n")
    with pytest.raises(ConfigError, match="no digest"):
        ApiKeys.read(file)
