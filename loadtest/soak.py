"""Thousands of mixed requests against one server: does its memory stay where it is?

    python -m loadtest.soak [--requests 10000] [--callers 4] [--model NAME --model-dir DIR]

Prints and writes the server's resident memory along the way, its growth after the first thousand
requests, and how many requests ended with which status. A status that was not expected makes the
exit code 1, and so does a server that does not end cleanly on SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loadtest import report
from loadtest.servers import ServerProcess, mattestream_server
from loadtest.soak_findings import CHECKPOINTS, Findings, Sample, page
from loadtest.soak_mix import OK, Item, Mix
from mattestream import Client, FrameFailed, MattestreamError
from mattestream.errors import BY_CODE

KEPT_SURPRISES = 20
_STATUS = {kind: code.name for code, kind in BY_CODE.items()}


class Soak:
    """Callers that take items from one mix until `requests` are done or the time is over."""

    def __init__(
        self,
        client: Client,
        rss_mb: Callable[[], float],
        *,
        requests: int,
        seconds: float,
        sample_every: int,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = print,
    ) -> None:
        self.findings = Findings()
        self._client = client
        self._rss_mb = rss_mb
        self._requests = requests
        self._seconds = seconds
        self._sample_every = sample_every
        self._clock = clock
        self._say = say
        self._lock = threading.Lock()
        self._handed_out = 0

    def run(self, mix: Iterator[Item], callers: int) -> Findings:
        """Everything that was seen; returns when all callers are done."""
        self._began = self._clock()
        self._note_memory()
        threads = [
            threading.Thread(target=self._call_on, args=(mix,), name=f"caller-{i}")
            for i in range(callers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._note_memory()
        self.findings.seconds = self._clock() - self._began
        return self.findings

    def _call_on(self, mix: Iterator[Item]) -> None:
        while (item := self._next(mix)) is not None:
            began = self._clock()
            try:
                statuses = self._stream(item) if item.frames else [self._unary(item)]
            except Exception as error:  # what the client lets through is a finding, not the end
                statuses = [f"{type(error).__name__} in the client"]
            self._note(item, statuses, (self._clock() - began) * 1e3)

    def _next(self, mix: Iterator[Item]) -> Item | None:
        with self._lock:
            over = self._clock() - self._began > self._seconds
            if over or self._handed_out >= self._requests:
                return None
            item = next(mix)
            self._handed_out += item.leave_after or item.frames or 1
            return item

    def _unary(self, item: Item) -> str:
        try:
            result = self._client.remove(item.image, timeout_s=item.timeout_s, **item.options)
        except MattestreamError as error:
            return status_of(error)
        return OK if result.data else "an empty result"

    def _stream(self, item: Item) -> list[str]:
        """A status for every frame that was answered."""
        statuses: list[str] = []
        outcomes = self._client.remove_stream([item.image] * item.frames, **item.options)
        try:
            for outcome in outcomes:
                statuses.append(
                    status_of(outcome.error) if isinstance(outcome, FrameFailed) else OK
                )
                if len(statuses) == item.leave_after:
                    break
        except MattestreamError as error:
            statuses.append(status_of(error))
        finally:
            outcomes.close()
        if len(statuses) < (item.leave_after or item.frames):
            statuses.append("frames without an answer")
        return statuses

    def _note(self, item: Item, statuses: Sequence[str], took_ms: float) -> None:
        found = self.findings
        with self._lock:
            before = found.done
            found.done += len(statuses)
            found.kinds[item.name] += len(statuses)
            found.statuses.update(statuses)
            for status in statuses:
                if status != item.expected:
                    found.surprised += 1
                    if len(found.surprises) < KEPT_SURPRISES:
                        found.surprises.append(f"{item.name}: {status}, {item.expected} expected")
            if not item.frames and statuses == [OK]:
                found.latencies_ms.append(took_ms)
            if before // self._sample_every != found.done // self._sample_every:
                self._note_memory()

    def _note_memory(self) -> None:
        found = self.findings
        sample = Sample(found.done, self._rss_mb(), self._clock() - self._began)
        found.samples.append(sample)
        if any(mark <= sample.requests < mark + self._sample_every for mark in CHECKPOINTS):
            self._say(
                f"{sample.requests:6d} requests, {sample.seconds:4.0f} s: {sample.rss_mb:.0f} MB"
            )


def status_of(error: MattestreamError) -> str:
    """Name of the gRPC status that `error` stands for."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return type(error).__name__


def run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Soaks, prints and writes; 0 when nothing surprised."""
    facts = {
        **report.machine_facts(),
        "versions": ", ".join(f"{k} {v}" for k, v in report.versions(report.OUR_LIBRARIES).items()),
        "commit": report.commit(),
        "command": f"`{report.shown_command('soak', arguments)}`",
    }
    mix = iter(Mix(options.seed))
    with tempfile.TemporaryDirectory(prefix="mattestream-soak-") as folder:
        server = _server(options, Path(folder))
        with server, Client(server.address, timeout_s=60) as client:
            soak = Soak(
                client,
                server.rss_mb,
                requests=options.requests,
                seconds=options.minutes * 60,
                sample_every=options.sample_every,
            )
            found = soak.run(mix, options.callers)
        found.exit_code = server.exit_code
    text = page(found, facts)
    print("\n" + text)
    written = report.write_results("soak", {"facts": facts, **found.figures()}, text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return int(found.surprised > 0 or found.exit_code != 0)


def _server(options: argparse.Namespace, work: Path) -> ServerProcess:
    settings = {
        "MATTESTREAM_LOG_LEVEL": "warning",
    }
    if options.model is not None:
        settings["MATTESTREAM_MODEL"] = options.model
    if options.model_dir is not None:
        settings["MATTESTREAM_MODEL_DIRS"] = str(options.model_dir.resolve())
    return mattestream_server(work, environment=settings)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="loadtest.soak", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--requests", type=int, default=10_000, help="each frame of a stream is one")
    add("--minutes", type=float, default=12.0, help="no request is sent after so long")
    add("--callers", type=int, default=4)
    add("--sample-every", type=int, default=50, help="requests between two looks at memory")
    add("--seed", type=int, default=1, help="of the mix")
    add("--model", help="default: the server's own")
    add("--model-dir", type=Path, help="folder with that model's manifest")
    add("--out", type=Path, default=report.RESULTS, help="folder of the report")
    return run(parser.parse_args(arguments), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
