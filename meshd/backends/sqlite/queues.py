"""Queues: which lanes and routes have ready tasks, and a lower bound of the smallest virtual time in each.

Every lane and route with ready tasks has its row; a row may outlive the last task until a claim looks.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meshd.backends.sqlite.bulk import execute_rows


class Queue(NamedTuple):
    """Ready tasks of one route in one lane (see `lanes.py`)."""

    lane: str
    route: str


def queues_in(connection: sqlite3.Connection, mesh: int, lanes: tuple[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield bound, lane and route of each queue in two lanes, reading no more than asked.

    The smallest bound comes first; of equal ones, that of a node's own lane.
    """
    select = "SELECT head_vt, lane, route FROM queues WHERE mesh = ? AND lane = ?"
    both = f"{select} UNION ALL {select} ORDER BY head_vt, lane DESC"
    return connection.execute(both, (mesh, lanes[0], mesh, lanes[1]))


def count_ready(connection: sqlite3.Connection, mesh: int, queue: Queue, *, limit: int) -> int:
    """Return how many tasks wait in a queue, counting up to `limit`."""
    select = "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE mesh = ? AND lane = ? AND route = ? LIMIT ?)"
    return int(connection.execute(select, (mesh, *queue, limit)).fetchone()[0])


def head_of(connection: sqlite3.Connection, mesh: int, queue: Queue) -> int | None:
    """Return the bound of a queue, `None` if it has no row."""
    select = "SELECT head_vt FROM queues WHERE mesh = ? AND lane = ? AND route = ?"
    row = connection.execute(select, (mesh, *queue)).fetchone()
    return None if row is None else int(row[0])


def lower_heads(connection: sqlite3.Connection, mesh: int, heads: Mapping[Queue, int]) -> None:
    """Note that tasks came into these queues."""
    execute_rows(
        connection,
        "INSERT INTO queues (mesh, lane, route, head_vt) VALUES {rows}"
        " ON CONFLICT DO UPDATE SET head_vt = excluded.head_vt WHERE excluded.head_vt < head_vt",
        [(mesh, *queue, vt) for queue, vt in heads.items()],
    )


def raise_head(connection: sqlite3.Connection, mesh: int, queue: Queue, vt: int) -> None:
    """Note that every task left in a queue has at least this virtual time."""
    connection.execute("UPDATE queues SET head_vt = ? WHERE mesh = ? AND lane = ? AND route = ?", (vt, mesh, *queue))


def drop_empty(connection: sqlite3.Connection, mesh: int, queues: Iterable[Queue]) -> None:
    """Remove the rows of those queues in which no task waits."""
    for queue in queues:
        if not count_ready(connection, mesh, queue, limit=1):
            connection.execute("DELETE FROM queues WHERE mesh = ? AND lane = ? AND route = ?", (mesh, *queue))
