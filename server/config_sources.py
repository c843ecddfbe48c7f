"""Where settings come from: TOML file < environment < flags, each error naming its source.

The CLI calls `load_config` with what it was given; `server.config` holds the table that is filled
here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from server.config import Config, keys
from server.config_key import ConfigError, Key, check

CONFIG_ENV = "MATTESTREAM_CONFIG"
_BOOLS = {"true": True, "1": True, "on": True, "yes": True} | dict.fromkeys(
    ("false", "0", "off", "no"), False
)


def load_config(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """The settings in force.

    Args:
        path: a TOML file of flat keys; None: the one that MATTESTREAM_CONFIG names, if any.
        environ: variables MATTESTREAM_KEY; others are not looked at.
        flags: by key name; None and () count as not given. Texts and values of the key's own type
            will do.

    Raises:
        ConfigError: the sentence names the key, its source, what was seen and what is allowed.
    """
    environ = environ or {}
    if path is None and environ.get(CONFIG_ENV):
        path = Path(environ[CONFIG_ENV])
    settings: dict[str, object] = {}
    for key, raw, source in (
        *(_from_file(path) if path is not None else ()),
        *_from_environment(environ),
        *_from_flags(flags or {}),
    ):
        settings[key.name] = _read(key, raw, source)
    return Config(**settings)  # type: ignore[arg-type]  # each value was checked against its key


def _from_file(path: Path) -> Iterator[tuple[Key, object, str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, a number without end
        raise ConfigError(f"the config file {path} is not valid TOML: {error}") from error
    by_name = {key.name: key for key in keys()}
    for name, raw in table.items():
        if name not in by_name:
            raise ConfigError(f"{path}: unknown key {name}{_hint(name, list(by_name))}")
        yield by_name[name], raw, f"{path}: {name}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[Key, object, str]]:
    by_env = {key.env: key for key in keys()}
    for name, raw in environ.items():
        if name in by_env:
            yield by_env[name], raw, f"environment variable {name}"
        elif name.startswith("MATTESTREAM_") and name != CONFIG_ENV:
            # Other tools may have variables under our prefix; a near miss of a key is a slip of the
            # pen.
            near = difflib.get_close_matches(name, by_env, n=1, cutoff=0.9)
            if near:
                raise ConfigError(f"unknown environment variable {name}: did you mean {near[0]}?")


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[Key, object, str]]:
    by_name = {key.name: key for key in keys()}
    for name, raw in flags.items():
        if raw is None or raw == ():
            continue
        if name not in by_name:
            raise ConfigError(
                f"unknown flag --{name.replace('_', '-')}{_hint(name, list(by_name))}"
            )
        yield by_name[name], raw, f"flag {by_name[name].flag}"


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else f": the keys are {', '.join(known)}"


def _read(key: Key, raw: object, source: str) -> object:
    if key.optional and (raw is None or raw == ""):
        return None
    value: object
    if key.many:
        # One text is a comma-separated list; TOML and repeated flags give a list.
        parts = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(parts, Sequence):
            raise ConfigError(f"{source} is {raw!r}: it must be {key.allowed}")
        words = (part.strip() if isinstance(part, str) else part for part in parts)
        value = tuple(_one(key, word, source) for word in words if word != "")
    else:
        value = _one(key, raw, source)
    check(key, value, source)
    return value


def _one(key: Key, raw: object, source: str) -> object:
    is_number = isinstance(raw, int) and not isinstance(raw, bool)
    if key.kind is bool and isinstance(raw, str):
        if raw.lower() not in _BOOLS:
            raise ConfigError(f"{source} is {raw!r}: it must be {key.allowed}")
        return _BOOLS[raw.lower()]
    try:
        if isinstance(raw, str) and key.kind in {int, float}:
            return key.kind(raw)
        if isinstance(raw, str) and key.kind is Path:
            return Path(raw).expanduser()
        if is_number and key.kind is float:
            return float(raw)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        raise ConfigError(f"{source} is {raw!r}: it must be {key.allowed}") from None
    except RuntimeError:
        raise ConfigError(
            f"{source} is {raw!r}: there is no home folder of that name, give the whole path"
        ) from None
    return raw
