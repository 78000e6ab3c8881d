"""Event logs as rows: dense cursors per log, trimmed as they grow."""

import sqlite3
from collections.abc import Sequence

from meshd.backends.sqlite.bulk import execute_rows
from meshd.events import LOG_CAPACITY

_SLACK = LOG_CAPACITY // 100
"""How far a log may outgrow its capacity before it is trimmed, so that not every append deletes."""


def append_events(connection: sqlite3.Connection, *, mesh: int, log: str, at_ms: int, bodies: Sequence[bytes]) -> int:
    """Append `bodies` in order; return the cursor of the last one."""
    newest, trimmed = connection.execute(
        "INSERT INTO logs (mesh, name, newest) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET newest = newest + excluded.newest RETURNING newest, trimmed",
        (mesh, log, len(bodies)),
    ).fetchall()[0]
    first = newest - len(bodies) + 1
    execute_rows(
        connection,
        "INSERT INTO events (mesh, log, cursor, at_ms, body) VALUES {rows}",
        [(mesh, log, first + offset, at_ms, body) for offset, body in enumerate(bodies)],
    )
    if newest - trimmed > LOG_CAPACITY + _SLACK:
        _trim(connection, mesh, log, newest - LOG_CAPACITY)
    return int(newest)


def _trim(connection: sqlite3.Connection, mesh: int, log: str, up_to: int) -> None:
    connection.execute("DELETE FROM events WHERE mesh = ? AND log = ? AND cursor <= ?", (mesh, log, up_to))
    connection.execute("UPDATE logs SET trimmed = ? WHERE mesh = ? AND name = ?", (up_to, mesh, log))
