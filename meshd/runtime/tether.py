"""What ties a node process to whoever started it: it ends when its starter ends, and keeps its own log short.

The starter holds the other end of the process's standard input and never writes: when it dies, however it dies, the
kernel closes that end. This needs no signal to arrive, no pid to stay unique, and no Linux.
"""

import logging
import os
import select
import signal
import threading
import time
from pathlib import Path

from meshd.runtime.logfiles import turn_if_full
from meshd.runtime.processes import GRACE, HURRY

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0


def take_lifeline() -> int:
    """Move standard input to a descriptor of its own and return that; standard input becomes empty."""
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return lifeline


def tether(*, lifeline: int | None, log: Path | None) -> threading.Thread:
    """Watch both in a daemon thread, which works while a handler blocks the event loop."""
    thread = threading.Thread(target=_watch, args=(lifeline, log), name="meshd-tether", daemon=True)
    thread.start()
    return thread


def _watch(lifeline: int | None, log: Path | None) -> None:
    while not _has_ended(lifeline, timeout=CHECK_SECONDS):
        if log is not None:
            _keep_short(log)
    for patience in (GRACE, HURRY):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience.total_seconds())
    os.kill(os.getpid(), signal.SIGKILL)


def _keep_short(log: Path) -> None:
    try:
        turn_if_full(log)
    except OSError as exc:
        logger.warning("log %s cannot be turned: %s", log, exc)


def _has_ended(lifeline: int | None, *, timeout: float) -> bool:
    """Wait up to `timeout`; return whether the starter has gone. Without a lifeline it never has."""
    watched = [] if lifeline is None else [lifeline]
    readable, _, _ = select.select(watched, [], [], timeout)
    return bool(readable) and os.read(readable[0], 1) == b""
