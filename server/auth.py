"""API keys: who may call, when the operator asks for keys at all.

`server.interceptors` checks every call of our services with it. Health and reflection need no key:
load balancers have none, and the schema is public.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from pathlib import Path

from server.config import ConfigError

MIN_KEY_CHARS = 16


class NotAuthenticated(Exception):
    """No key, or a wrong one."""


class ApiKeys:
    """The accepted keys. Without any, everyone may call."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = tuple(key.encode() for key in keys)

    @classmethod
    def read(cls, path: Path | None) -> ApiKeys:
        """The keys of a file, one a line; empty lines and lines that begin with '#' are skipped.

        Raises:
            ConfigError: the file cannot be read, or a key is too short to be a secret.
        """
        if path is None:
            return cls()
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"api_keys_file: cannot read {path}: {error}") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"api_keys_file: {path} holds no key: put one on a line of its own")
        for number, key in enumerate(keys, start=1):
            if len(key) < MIN_KEY_CHARS:
                raise ConfigError(
                    f"api_keys_file: key {number} of {path} has {len(key)} characters: use "
                    f"{MIN_KEY_CHARS} or more"
                )
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Nothing when the caller may pass.

        Raises:
            NotAuthenticated: it may not.
        """
        if not self._keys:
            return
        shown = _shown_key(metadata)
        if shown is None:
            raise NotAuthenticated(
                "this server needs an API key: send it as x-api-key or as authorization: Bearer KEY"
            )
        # All keys are compared, each in constant time, so that timing tells nothing.
        if not sum(hmac.compare_digest(shown, key) for key in self._keys):
            raise NotAuthenticated("the API key is not one this server knows")


def _shown_key(metadata: Iterable[tuple[str, str | bytes]]) -> bytes | None:
    for name, value in metadata:
        text = value.encode() if isinstance(value, str) else value
        if name == "x-api-key":
            return text
        if name == "authorization" and text[:7].lower() == b"bearer ":
            return text[7:].strip()
    return None
