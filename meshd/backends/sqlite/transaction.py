"""One write transaction: the store's clock, its counters, and everything that has to be said when it commits."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.logs import append_events
from meshd.backends.sqlite.waiting import choose_waiting
from meshd.clock import Clock, system_clock

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Ring:
    """A bell to ring once the transaction is committed."""

    bell: str
    node_id: str = ""
    """Whose work it is; empty for hints."""
    route: str = ""


class Transaction:
    """Collects what a write says and counts; `flush` writes that down as the last step before the commit."""

    def __init__(self, connection: sqlite3.Connection, mesh: int, clock: Clock) -> None:
        self.connection = connection
        self.mesh = mesh
        stored = connection.execute("SELECT now_ms, token, revision FROM meshes WHERE id = ?", (mesh,)).fetchone()
        self._stored: tuple[int, int, int] = stored
        self._token: int = self._stored[1]
        self._revision: int = self._stored[2]
        self.now_ms = max(self._stored[0], clock())
        """Store time of everything in this transaction; never before that of an earlier one."""
        self._changes = connection.total_changes
        self._events: dict[str, list[bytes]] = {}
        self._hints: list[tuple[str, bytes]] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._ready: Counter[str] = Counter()

    @property
    def has_changes(self) -> bool:
        """Whether anything was written in this transaction."""
        return self.connection.total_changes != self._changes

    def next_token(self) -> int:
        """Return a number greater than every one before, also if the store lost its newest writes: a hybrid clock."""
        self._token = max(self._token + 1, self.now_ms * 1000)
        return self._token

    def raise_token(self, token: int) -> None:
        """Keep the next token above `token`."""
        self._token = max(self._token, token)

    def next_revision(self) -> int:
        """Return the next revision of the mesh's records."""
        self._revision += 1
        return self._revision

    def log(self, name: str, body: Mapping[str, Any]) -> None:
        """Append an event, and publish it to whoever subscribed to the log's name."""
        self._events.setdefault(name, []).append(_encode(body))

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        """Send a hint to the topic's subscribers."""
        self._hints.append((topic, _encode(body)))

    def count(self, state: str, route: str, by: int) -> None:
        """Change how many tasks of a route are in a state."""
        self._counts[state, route] += by

    def wake(self, route: str, tasks: int = 1) -> None:
        """Have as many waiting claimers of a route rung."""
        self._ready[route] += tasks

    def flush(self) -> list[Ring]:
        """Write everything collected; return the bells to ring after the commit."""
        for name, bodies in self._events.items():
            append_events(self.connection, mesh=self.mesh, log=name, at_ms=self.now_ms, bodies=bodies)
        rings = self._send_hints()
        if self._ready:
            chosen = choose_waiting(self.connection, self.mesh, self._ready)
            rings.extend(Ring(bell, node_id, route) for bell, node_id, route in chosen)
        self._write_counts()
        if self.has_changes or self._stored[1:] != (self._token, self._revision):
            self.connection.execute(
                "UPDATE meshes SET now_ms = ?, token = ?, revision = ? WHERE id = ?",
                (self.now_ms, self._token, self._revision, self.mesh),
            )
        return rings

    def _send_hints(self) -> list[Ring]:
        topics = {topic for topic, _ in self._hints}.union(self._events)
        if not topics:
            return []
        found = self.connection.execute(
            "SELECT topic, bell FROM subscribers WHERE mesh = ? AND topic IN (SELECT value FROM json_each(?))",
            (self.mesh, array(topics)),
        ).fetchall()
        if not found:
            return []
        heard = {topic for topic, _ in found}
        hints = [hint for hint in self._hints if hint[0] in heard]
        hints += [(log, body) for log, bodies in self._events.items() if log in heard for body in bodies]
        wall_ms = system_clock()
        execute_rows(
            self.connection,
            "INSERT INTO hints (mesh, topic, wall_ms, body) VALUES {rows}",
            [(self.mesh, topic, wall_ms, body) for topic, body in hints],
        )
        return [Ring(bell) for bell in {bell for _, bell in found if bell}]

    def _write_counts(self) -> None:
        rows = [(self.mesh, state, route, by) for (state, route), by in self._counts.items() if by]
        execute_rows(
            self.connection,
            "INSERT INTO task_counts (mesh, state, route, tasks) VALUES {rows}"
            " ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
            rows,
        )
