"""Waiting for SQLite's lock. Its own waits grow to 100 ms a time, so a process can starve behind short transactions."""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.004


def patiently(step: Callable[[], T], *, timeout_ms: int) -> T:
    """Return what `step` returns, repeating it while the store is locked, for up to `timeout_ms`."""
    give_up_at = time.monotonic() + timeout_ms / 1000
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return step()
        except sqlite3.OperationalError as exc:
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
