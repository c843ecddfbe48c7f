"""Fetches a model's weights: from the publisher, a mirror or a file, into the cache, proven.

Called by `mattestream models pull`. Nothing appears in the cache before its SHA-256 has been
checked; a failure is one sentence. Only the operator pulls: no request to the server ever makes it
download.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from models import weights
from models.errors import PullFailed
from models.licences import require_accepted
from models.manifest import SHA256, Manifest, files_of

CHUNK_BYTES = 1 << 20
LARGEST_BYTES = 4 << 30  # where a manifest gives no size_bytes
SILENCE_S = 30.0  # longest wait for the next bytes

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all when known


@dataclass(frozen=True, slots=True)
class Pulled:
    """Weights that are now in the cache."""

    path: Path
    sha256: str
    size_bytes: int
    was_there: bool  # True: nothing had to be fetched
    pinned_now: bool  # True: the manifest pins no digest, so this one was pinned for the future


def pull(
    manifest: Manifest,
    *,
    cache_dir: Path,
    source: str | Path | None = None,
    sha256: str | None = None,
    trust_on_first_use: bool = False,
    accepted_licences: Collection[str] = (),
    on_progress: Progress | None = None,
    opener: urllib.request.OpenerDirector | None = None,
    silence_s: float = SILENCE_S,
) -> Pulled:
    """The weights in the cache, fetched if they are not there yet.

    Args:
        manifest: the model.
        cache_dir: see `models.weights.default_cache_dir`.
        source: None: the publisher's address. Else a file, a folder that holds the publisher's
            file name, an address that ends in ".onnx", or a mirror's base address, to which the
            publisher's file name is added.
        sha256: the digest the user trusts, 64 hex digits; needed (or `trust_on_first_use`) when
            the manifest has none.
        trust_on_first_use: take what arrives and pin its digest.
        accepted_licences: see `models.licences`.
        on_progress: called after every chunk with bytes so far and bytes in all (None when
            unknown).
        opener: replaces the one that knows http, https and the system's proxies.
        silence_s: longest wait for the next bytes.

    Raises:
        LicenceNotAccepted: non-commercial weights that nobody accepted.
        PullFailed: no digest to check against, nothing there, not reachable, too large, cut off,
            or other bytes.
    """
    require_accepted(manifest, accepted_licences)
    target = weights.cached_path(manifest, cache_dir)
    expected = _expected_digest(manifest, target, sha256, trust_on_first_use)
    pinned_now = manifest.weights.sha256 is None
    if target.is_file() and (have := weights.sha256_of(target)) == (expected or have):
        if pinned_now:
            weights.write_pin(target, have)
        return Pulled(target, have, target.stat().st_size, True, pinned_now)
    address = _address(manifest, source)
    try:
        with weights.atomic_file(target) as file:
            with _open(manifest, address, opener or _opener(), silence_s) as arriving:
                exact_bytes = manifest.weights.size_bytes
                digest, size = _copy(arriving, exact_bytes, file, on_progress)
            if expected is not None and digest != expected:
                raise PullFailed(
                    f"{address} gave {size} bytes with sha256 {digest}, expected {expected}: "
                    f"nothing was kept; try another source with --from, or check the digest"
                )
    except OSError as error:  # reading is turned into PullFailed where it happens; this is the disk
        raise PullFailed(f"cannot write {target}: {error.strerror or error}") from error
    if pinned_now:
        weights.write_pin(target, digest)
    return Pulled(target, digest, size, False, pinned_now)


def pull_files(
    manifest: Manifest,
    *,
    source: str | Path | None = None,
    sha256: str | None = None,
    **how: Any,
) -> list[Pulled]:
    """Every file of a model in the cache, one after the other: two where it answers prompts.

    Args:
        manifest: the model.
        source: as in `pull`; for two files a folder or a mirror's base address.
        sha256: as in `pull`; for one file only.
        **how: the other arguments of `pull`.

    Raises:
        LicenceNotAccepted, PullFailed: as `pull`; what came before is kept.
    """
    files = files_of(manifest)
    if not files:
        raise PullFailed(f"model '{manifest.name}' has no weights: it can be used as it is")
    if len(files) > 1:
        if sha256 is not None:
            raise PullFailed(
                f"model '{manifest.name}' has {len(files)} files and --sha256 is one digest: write "
                f"the digests into {manifest.path}"
            )
        if source is not None and str(source).endswith(".onnx"):
            raise PullFailed(
                f"model '{manifest.name}' has {len(files)} files and --from is one, {source}: give "
                f"a folder or a mirror's base address that holds both"
            )
    return [pull(file, source=source, sha256=sha256, **how) for file in files]


def _expected_digest(
    manifest: Manifest, target: Path, sha256: str | None, trust_on_first_use: bool
) -> str | None:
    """What the bytes must hash to; None when the user takes whatever arrives."""
    given = None if sha256 is None else sha256.strip().lower()
    if given is not None and not SHA256.fullmatch(given):
        raise PullFailed(f"--sha256 is {sha256!r}; allowed are 64 hex digits")
    pinned = manifest.weights.sha256
    if pinned is not None and given not in (None, pinned):
        raise PullFailed(
            f"model '{manifest.name}' is pinned to sha256 {pinned} by {manifest.path}, and "
            f"--sha256 says {given}: leave --sha256 out, or change the manifest"
        )
    # What was pinned at the first use holds, whatever is trusted later: only that makes it a pin.
    expected = pinned or given or weights.read_pin(target)
    if expected is None and not trust_on_first_use:
        raise PullFailed(
            f"model '{manifest.name}' has no pinned digest: give the one you trust with "
            f"--sha256 HEX, or take what arrives and pin it with --trust-on-first-use"
        )
    return expected


def _address(manifest: Manifest, source: str | Path | None) -> str:
    """The one address or path to read: see `pull` for what `source` may be."""
    published = manifest.weights.url
    name = f"{manifest.name}-{manifest.part}.onnx" if manifest.part else f"{manifest.name}.onnx"
    if published is not None:
        name = PurePosixPath(unquote(urlsplit(published).path)).name or name
    if source is None:
        if published is None:
            raise PullFailed(
                f"model '{manifest.name}' names no address to pull from: give one with --from, or "
                f"put the file at {manifest.weights.file}"
            )
        return published
    text = str(source)
    if "://" not in text:
        path = Path(text)
        return str(path / name if path.is_dir() else path)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise PullFailed(f"--from is {text!r}, which is no address: {error}") from error
    if parts.scheme not in ("http", "https", "file"):
        raise PullFailed(
            f"--from is {text!r}; allowed are http, https and file addresses, and paths"
        )
    is_file = parts.path.endswith(".onnx")
    return text if is_file else f"{text.rstrip('/')}/{name}"


@dataclass(frozen=True, slots=True)
class _Arriving:
    """Bytes that can be read, and how many their sender says they are."""

    address: str
    stream: IO[bytes]
    size_bytes: int | None


@contextmanager
def _open(
    manifest: Manifest, address: str, opener: urllib.request.OpenerDirector, silence_s: float
) -> Iterator[_Arriving]:
    """What is at `address`, open for reading."""
    parts = urlsplit(address)
    if "://" not in address or parts.scheme == "file":
        path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(address)
        try:
            with path.open("rb") as stream:
                yield _Arriving(address, stream, path.stat().st_size)
        except OSError as error:
            raise PullFailed(f"cannot read {path}: {error.strerror or error}") from error
        return
    request = urllib.request.Request(address, headers={"User-Agent": "mattestream"})  # noqa: S310
    try:
        with opener.open(request, timeout=silence_s) as reply:
            length = reply.headers.get("Content-Length")
            size_bytes = int(length) if length and length.isdigit() else None
            yield _Arriving(address, reply, size_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        raise PullFailed(
            f"{address} answers {error.code} {error.reason}: give another source with --from"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise PullFailed(
            f"cannot fetch {address}: {words}. Without a network, bring the file by other means "
            f"and run 'mattestream models pull {manifest.name} --from FILE'"
        ) from error


def _copy(
    arriving: _Arriving, exact_bytes: int | None, file: BinaryIO, on_progress: Progress | None
) -> tuple[str, int]:
    """Digest and size of what was copied into `file`.

    Raises:
        PullFailed: it is larger than it may be, or ended early.
    """
    address, promised = arriving.address, arriving.size_bytes
    limit = exact_bytes or LARGEST_BYTES
    total = exact_bytes or promised
    digest, size = hashlib.sha256(), 0
    if promised is not None and promised > limit:
        raise PullFailed(_too_large(address, promised, limit))
    while chunk := arriving.stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            raise PullFailed(_too_large(address, size, limit))
        digest.update(chunk)
        try:
            file.write(chunk)
        except OSError as error:
            raise PullFailed(f"cannot write {file.name}: {error.strerror or error}") from error
        if on_progress is not None:
            on_progress(size, total)
    if total is not None and size < total:
        raise PullFailed(f"{address} ended after {size} of {total} bytes: try again")
    return digest.hexdigest(), size


def _too_large(address: str, size: int, limit: int) -> str:
    return (
        f"{address} has {size} bytes or more, and these weights may have {limit}: it is "
        f"another file"
    )


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything less."""

    def redirect_request(  # type: ignore[no-untyped-def]  # noqa: PLR0917
        self, req, fp, code, msg, headers, newurl
    ):
        """The request to go on with; signature by urllib."""
        schemes = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in schemes:
            fp.close()
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """What fetches http and https, through the system's proxies; no ftp, data or file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(),
    ):
        opener.add_handler(handler)
    return opener
