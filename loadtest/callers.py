"""The load, in a process of its own: N callers, each sending its next photo when it has its answer.

Started by `compare_rembg` and `overload`, see `load_process`. Both servers of a comparison get the
same code; only the one call differs, and each is the one its users make:
`mattestream.Client.remove`, or a multipart POST by httpx.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

from loadtest.answers import is_whole_png
from loadtest.load_process import LoadProcess
from loadtest.photos import load_photos

REQUEST_TIMEOUT_S = 120.0
LEAST_EACH = 2  # photos
CallServer = Callable[[bytes], bytes]  # a JPEG in, an answer out; raises when there is none


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One run against one server; it ends at `requests` or after `seconds`, whichever is first.

    However short `seconds` are, each caller sends `least_each` photos, so that a slow server's
    figures rest on more than what it was given at the start.
    """

    kind: str  # of CALLS
    address: str  # host:port
    model: str  # name; for rembg the path of the ONNX
    photos: tuple[str, ...]  # paths
    callers: int
    requests: int
    seconds: float
    least_each: int = LEAST_EACH
    keep_answers_in: str | None = None  # folder for the warm-up's answers, 0.png, 1.png, ...


@dataclass(slots=True)
class Load:
    """What the callers saw."""

    latencies_ms: list[float] = field(default_factory=list)  # of good answers, as they came
    answer_bytes: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # a sentence each
    seconds: float = 0.0  # from "go" to the last answer
    caller_cpu_s: float = 0.0  # of this process


def start_callers(spec: LoadSpec) -> LoadProcess:
    """A load process that has warmed the server up and waits to be let loose.

    Raises:
        LoadFailed: it did not get ready.
    """
    return LoadProcess("loadtest.callers", json.dumps(asdict(spec)))


def let_loose(process: LoadProcess) -> Load:
    """What the callers of that process saw.

    Raises:
        LoadFailed: the process ended before it was done.
    """
    return Load(**json.loads(process.go()))


def run_load(
    call: CallServer,
    photos: Mapping[str, tuple[bytes, int, int]],
    *,
    callers: int,
    requests: int,
    seconds: float,
    least_each: int = LEAST_EACH,
) -> Load:
    """What `callers` threads see that send `photos` in turn, each waiting for its answer.

    Args:
        call: one request; several threads call it at once.
        photos: name to JPEG, width and height in pixels.
        callers: threads.
        requests: no more than this many are sent.
        seconds: after this long none is sent any more, but `least_each` by each caller; those on
            their way are waited for.
        least_each: photos.
    """
    load = Load()
    turn = list(photos.items())
    tickets, lock = count(), threading.Lock()
    began, cpu_began = time.perf_counter(), time.process_time()

    def caller() -> None:
        for sent_before in count():
            if sent_before >= least_each and time.perf_counter() - began >= seconds:
                return
            with lock:
                ticket = next(tickets)
            if ticket >= requests:
                return
            name, (data, width, height) = turn[ticket % len(turn)]
            sent = time.perf_counter()
            try:
                answer = call(data)
                problem = (
                    "" if is_whole_png(answer, width, height) else "the answer is no whole PNG"
                )
            except Exception as error:  # whatever it was, it is counted, never timed
                problem = f"{type(error).__name__}: {error}"
            latency_ms = (time.perf_counter() - sent) * 1e3
            with lock:
                if problem:
                    load.errors.append(f"{name}: {problem}"[:300])
                else:
                    load.latencies_ms.append(latency_ms)
                    load.answer_bytes.append(len(answer))

    threads = [threading.Thread(target=caller, name=f"caller-{i}") for i in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - began
    load.caller_cpu_s = time.process_time() - cpu_began
    return load


def mattestream_call(address: str, model: str) -> CallServer:
    """One request to our server, as a user of the client makes it."""
    from mattestream import Client

    # With the client's own retries: a refusal costs the user time, and that time is counted.
    client = Client(address, timeout_s=REQUEST_TIMEOUT_S)

    def call(photo: bytes) -> bytes:
        # The peer does neither unless asked: both sides do the same work.
        return client.remove(photo, model=model, refine="off", decontaminate=0).data

    return call


def rembg_call(address: str, onnx: str) -> CallServer:
    """One request to rembg's server, which reads `extras` from the query and the rest as a form."""
    extras = json.dumps({"model_path": onnx})
    url = f"http://{address}/api/remove"
    return _form_call(url, "file", {"model": "u2net_custom"}, {"extras": extras})


def remove_bg_call(address: str, model: str) -> CallServer:
    """One request to our HTTP door, as a client of remove.bg makes it; the model is the server's
    default, since remove.bg has no word for it.
    """
    fields = {"size": "full", "format": "png"}
    return _form_call(f"http://{address}/v1.0/removebg", "image_file", fields)


def own_http_call(address: str, model: str) -> CallServer:
    """One request to our HTTP door in its own words: the work that the peer does, and no more."""
    options = {
        "model": model,
        "edges": {"refine": "REFINE_OFF"},
        "foreground": {"decontaminate": 0},
    }
    return _form_call(f"http://{address}/v1/remove", "image", {"options": json.dumps(options)})


def _form_call(
    url: str, file: str, fields: Mapping[str, str], query: Mapping[str, str] | None = None
) -> CallServer:
    """A multipart POST of the photo as `file`; whole answers only."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
    client = httpx.Client(timeout=REQUEST_TIMEOUT_S, limits=limits, trust_env=False)

    def call(photo: bytes) -> bytes:
        picture = {file: ("photo.jpg", photo, "image/jpeg")}
        answer = client.post(url, params=query, data=fields, files=picture)
        answer.raise_for_status()
        return answer.content

    return call


CALLS = {
    "mattestream": mattestream_call,
    "own HTTP": own_http_call,
    "remove.bg": remove_bg_call,
    "rembg": rembg_call,
}


def main() -> None:
    """Reads a spec, warms up, says "ready", waits for "go", prints a `Load` as one JSON line."""
    values = json.loads(sys.stdin.readline())
    spec = LoadSpec(**{**values, "photos": tuple(values["photos"])})
    call = CALLS[spec.kind](spec.address, spec.model)
    loaded = load_photos("1080p", [Path(path) for path in spec.photos]).photos
    # One at a time: rembg loads its model at the first request, N at once would load it N times.
    for place, photo in enumerate(loaded):
        answer = call(photo.data)
        if spec.keep_answers_in is not None:
            (Path(spec.keep_answers_in) / f"{place}.png").write_bytes(answer)
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        return
    load = run_load(
        call,
        {photo.name: (photo.data, photo.width, photo.height) for photo in loaded},
        callers=spec.callers,
        requests=spec.requests,
        seconds=spec.seconds,
        least_each=spec.least_each,
    )
    print(json.dumps(asdict(load)), flush=True)


if __name__ == "__main__":
    main()
