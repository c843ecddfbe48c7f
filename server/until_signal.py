"""A server's life as a process: it starts, serves until a signal or the loss of its GPUs, drains.

`server.app.serve` runs it; `server.signals` holds the signals until the handlers here are set.
"""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING

import structlog

from server import signals

if TYPE_CHECKING:
    from server.app import App

log = structlog.get_logger("server")


async def serve_until_signal(app: App) -> int:
    """Starts, serves until SIGTERM or SIGINT, drains; a second signal stops at once.

    Returns:
        The exit code: 0, or 1 when calls were cut off or a GPU was lost.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[str] = asyncio.Queue()
    for number in signals.STOPPING:
        loop.add_signal_handler(number, came.put_nowait, number.name)
    signals.let_in()
    try:
        if not await _started(app, came):
            return 0
        stopped = asyncio.create_task(came.get())
        lost = asyncio.create_task(app.losses.all_lost.wait())
        await asyncio.wait({stopped, lost}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            log.info("signal", name=stopped.result())
        stopped.cancel()
        is_whole = await _drained(app, came)
        is_lost = not lost.cancel()
        return 0 if is_whole and not is_lost else 1
    finally:
        gc.unfreeze()
        for number in signals.STOPPING:
            loop.remove_signal_handler(number)


async def _started(app: App, came: asyncio.Queue[str]) -> bool:
    """True when the server serves; False when a signal came while its models were loaded."""
    starting = asyncio.create_task(app.start())
    if await _before_signal(starting, came):
        await starting  # raises what kept it from starting
        _settle_garbage()
        return True
    starting.cancel()
    if not await _before_signal(starting, came):
        # A library is in a step that nothing can end but the end of the process.
        log.warning("second signal: stopping at once", loading=True)
        os._exit(1)
    return False


def _settle_garbage() -> None:
    """What was loaded stays as long as the process: the garbage collector need not look at it.

    A full collection over its 67,000 objects held every thread for 12 ms, at any moment of a busy
    server; without them it takes microseconds.
    """
    gc.collect()
    gc.freeze()


async def _drained(app: App, came: asyncio.Queue[str]) -> bool:
    """True when everything in work was finished; False when it was cut off."""
    draining = asyncio.create_task(app.drain())
    if await _before_signal(draining, came):
        return await draining
    log.warning("second signal: stopping at once", calls_cut=app.gate.calls)
    draining.cancel()
    await asyncio.wait({draining})
    await app.stop()
    return False


async def _before_signal(task: asyncio.Task[object], came: asyncio.Queue[str]) -> bool:
    """True when `task` is done, False when a signal came before that and was taken."""
    signal = asyncio.create_task(came.get())
    await asyncio.wait({task, signal}, return_when=asyncio.FIRST_COMPLETED)
    if task.done() and signal.done():
        came.put_nowait(signal.result())  # both at once: the signal is the next step's
    signal.cancel()
    return task.done()
