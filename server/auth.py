"""API keys: who may call, when the operator asks for keys at all.

`server.interceptors` checks every gRPC call of our services with it, `server.gateway` every HTTP
request: one store for both doors. Health and reflection need no key: load balancers have none, and
the schema is public. Only digests are held. A key is random and long (`mattestream keys` makes one
of 256 bits), so a plain SHA-256 of it cannot be searched, and needs no slow hash on every call.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

import structlog

from server.config_key import ConfigError

MIN_KEY_CHARS = 16
HASHED = "sha256:"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class NotAuthenticated(Exception):
    """No key, or a wrong one."""


class ApiKeys:
    """The accepted keys, each as such or as `hashed` has it. Without any, everyone may call."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple(
            bytes.fromhex(key.removeprefix(HASHED))
            if key.startswith(HASHED)
            else hashlib.sha256(key.encode()).digest()
            for key in keys
        )

    @classmethod
    def read(cls, path: Path | None) -> ApiKeys:
        """The keys of a file, one a line, hashed or as they are; what follows a hashed one is its
        name. Empty lines and lines that begin with '#' are skipped.

        Raises:
            ConfigError: the file cannot be read, a key is too short to be a secret, or a digest is
                none.
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
        plain = 0
        # Behind a digest stands its owner's name, for people.
        keys = [key.split()[0].lower() if key.startswith(HASHED) else key for key in keys]
        for number, key in enumerate(keys, start=1):
            if key.startswith(HASHED):
                if not _DIGEST.fullmatch(key.removeprefix(HASHED)):
                    raise ConfigError(
                        f"api_keys_file: line {number} of the keys in {path} is no digest: write "
                        f"{HASHED} and 64 hex digits, as `mattestream keys` prints them"
                    )
            elif len(key) < MIN_KEY_CHARS:
                raise ConfigError(
                    f"api_keys_file: key {number} of {path} has {len(key)} characters: use "
                    f"{MIN_KEY_CHARS} or more"
                )
            else:
                plain += 1
        if plain:
            structlog.get_logger("server").warning(
                "API keys in plain text",
                file=str(path),
                keys=plain,
                advice="replace each by what `mattestream keys --hash` prints for it",
            )
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Nothing when the caller may pass.

        Raises:
            NotAuthenticated: it may not.
        """
        if not self._digests:
            return
        shown = _shown_key(metadata)
        if shown is None:
            raise NotAuthenticated(
                "this server needs an API key: send it as x-api-key or as authorization: Bearer KEY"
            )
        digest = hashlib.sha256(shown).digest()
        # All keys are compared, each in constant time, so that timing tells nothing.
        if not sum(hmac.compare_digest(digest, known) for known in self._digests):
            raise NotAuthenticated("the API key is not one this server knows")


def hashed(key: str) -> str:
    """The line that stands for `key` in the keys' file."""
    return HASHED + hashlib.sha256(key.encode()).hexdigest()


def owner_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """A short digest of the key that a caller shows, "" when it shows none: tells callers apart
    where their work waits, and whose a broken stream is, without holding their keys.
    """
    shown = _shown_key(metadata)
    return "" if shown is None else hashlib.sha256(shown).hexdigest()[:16]


def _shown_key(metadata: Iterable[tuple[str, str | bytes]]) -> bytes | None:
    for name, value in metadata:
        text = value.encode() if isinstance(value, str) else value
        if name == "x-api-key":
            return text
        if name == "authorization" and text[:7].lower() == b"bearer ":
            return text[7:].strip()
    return None
