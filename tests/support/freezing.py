"""Freezing a process with SIGSTOP, but never while it holds a SQLite file: then everybody else waits for it too."""

import signal
import sqlite3
import time
from contextlib import closing
from subprocess import Popen

PREFIX = "sqlite:///"


def freeze(process: "Popen[bytes]", store_url: str) -> None:
    """Stop the process at a moment at which it holds no lock on the store; SIGCONT wakes it."""
    while True:
        process.send_signal(signal.SIGSTOP)
        if not store_url.startswith(PREFIX) or _is_free(store_url.removeprefix(PREFIX)):
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.001)


def _is_free(path: str) -> bool:
    with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True
