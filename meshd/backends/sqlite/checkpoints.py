"""Moving a file's log into it beside its only writer, whose commits then seldom wait for the disk."""

import sqlite3
from pathlib import Path
from threading import Lock

LOG_PAGES = 8_000
"""When the log is that long, the writer moves it itself: others did not come to it, or not to its end."""

_ROWS = 500
"""Changed rows that are worth it."""


class Checkpoints:
    """Moves the log over a connection of its own, on whatever thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()
        self._is_closed = False
        self._moved = 0
        self.is_long = False
        """The log grows faster than it is moved: commits should be where they may wait."""

    def move(self, *, changes: int) -> None:
        """Move what is committed, if the writer changed enough rows since; `changes` counts all it ever changed.

        Raises:
            sqlite3.Error: it failed; the log keeps everything.
        """
        with self._lock:
            if self._is_closed or changes - self._moved < _ROWS:
                return
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
                self._connection.execute("PRAGMA synchronous = NORMAL")
            _, pages, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self.is_long = pages != moved and pages > LOG_PAGES // 2
            self._moved = changes

    def close(self) -> None:
        """Close the connection; `move` does nothing any more. Idempotent."""
        with self._lock:
            self._is_closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None
