"""One write transaction: the store's clock, its counters, and everything that has to be said when it commits."""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.known import Known, MeshRow
from meshd.backends.sqlite.logs import append_events
from meshd.backends.sqlite.queues import Queue, drop_empty, lower_heads
from meshd.backends.sqlite.waiting import choose_waiting
from meshd.clock import Clock, store_time, system_clock

_encode = msgspec.json.Encoder().encode
_decode_paused = msgspec.json.Decoder(frozenset[str]).decode


@dataclass(frozen=True, slots=True)
class Ring:
    """A bell to ring once the transaction is committed."""

    bell: str
    node_id: str = ""
    """Whose work it is; empty for hints."""
    queue: Queue | None = None


class AuditRun(NamedTuple):
    """An audit under way: it has counted every task up to `last_id`, and changes of those are counted along."""

    run: str
    last_id: str
    until_ms: int
    """When it is taken for given up."""


_decode_audit = msgspec.json.Decoder(AuditRun).decode


class Transaction:
    """Collects what a write says and counts; `flush` writes that down as the last step before the commit."""

    def __init__(self, connection: sqlite3.Connection, mesh: int, clock: Clock, *, known: Known | None = None) -> None:
        self.connection = connection
        self.mesh = mesh
        self._changes = connection.total_changes
        self._known = known
        self.learned: Known | None = None
        """What the rows are once this is committed, if whoever changed them said so."""
        self._stored = self._read_mesh()
        self._token: int = self._stored.token
        self._revision: int = self._stored.revision
        self.now_ms, self._ahead_ms = store_time(clock(), kept_ms=self._stored.now_ms, ahead_ms=self._stored.ahead_ms)
        """Store time of everything in this transaction; never before that of an earlier one."""
        self.paused = read_paused(self._stored.paused)
        """Task types not handed out; an empty one stands for all."""
        self.audit = self._read_audit()
        self.settles = False
        """Whether a task ended for which others wait."""
        self._events: dict[str, list[bytes]] = {}
        self._hints: list[tuple[str, bytes]] = []
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._audited: defaultdict[str, int] = defaultdict(int)
        self._heads: dict[Queue, int] = {}
        self._left: set[Queue] = set()
        self._ready: defaultdict[Queue, int] = defaultdict(int)

    @property
    def known(self) -> Known | None:
        """What the file says for certain, as nothing was changed since it was learned."""
        known = self._known
        return known if known is not None and known.changes == self.connection.total_changes else None

    def learn(self, known: Known) -> None:
        """Say what the rows are after all that this transaction changes."""
        self.learned = known

    def _read_mesh(self) -> MeshRow:
        known = self.known
        if known is not None and known.mesh is not None:
            return known.mesh
        row = self.connection.execute(
            "SELECT now_ms, token, revision, paused, audit, ahead_ms FROM meshes WHERE id = ?", (self.mesh,)
        ).fetchone()
        return MeshRow(*row)

    def _read_audit(self) -> AuditRun | None:
        stored = self._stored.audit
        audit = None if stored is None else _decode_audit(stored)
        return audit if audit is not None and audit.until_ms > self.now_ms else None

    def is_paused(self, route: str) -> bool:
        """Whether tasks of this route are not handed out."""
        return bool(self.paused) and ("" in self.paused or route.partition("+")[0] in self.paused)

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
        """Return a number greater than that of any write to a record before, also if the store lost its newest."""
        self._revision = max(self._revision + 1, self.now_ms * 1000)
        return self._revision

    def log(self, name: str, body: Mapping[str, Any]) -> None:
        """Append an event, and publish it to whoever subscribed to the log's name."""
        self._events.setdefault(name, []).append(_encode(body))

    def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        """Send a hint to the topic's subscribers."""
        self._hints.append((topic, _encode(body)))

    @property
    def token(self) -> int:
        """The highest token given out."""
        return self._token

    def count(self, state: str, by: int, *, task_id: str) -> None:
        """Change how many tasks are in a state."""
        self._counts[state] += by
        if self.audit is not None and task_id <= self.audit.last_id:
            self._audited[state] += by

    def keep_audit(self, audit: AuditRun | None) -> None:
        """Note how far the audit is that counts tasks, or that none does."""
        self.audit = audit
        stored = None if audit is None else _encode(audit).decode()
        self.connection.execute("UPDATE meshes SET audit = ? WHERE id = ?", (stored, self.mesh))

    def enqueue(self, queue: Queue, vt: int) -> None:
        """Note a task that came into a queue."""
        self._heads[queue] = min(vt, self._heads.get(queue, vt))

    def leave(self, queue: Queue) -> None:
        """Note that a task left a queue in which nobody may look for a long time."""
        self._left.add(queue)

    def wake(self, queue: Queue, tasks: int = 1) -> None:
        """Have as many waiting claimers of a queue rung."""
        if not self.is_paused(queue.route):
            self._ready[queue] += tasks

    def flush(self) -> list[Ring]:
        """Write everything collected; return the bells to ring after the commit."""
        for name, bodies in self._events.items():
            append_events(self.connection, mesh=self.mesh, log=name, at_ms=self.now_ms, bodies=bodies)
        if self._heads:
            lower_heads(self.connection, self.mesh, self._heads)
        if self._left:
            drop_empty(self.connection, self.mesh, self._left)
        rings = self._send_hints() if self._hints or self._events else []
        if self._ready:
            chosen = choose_waiting(self.connection, self.mesh, self._ready)
            rings.extend(Ring(each.bell, each.node_id, each.queue) for each in chosen)
        if self._counts:
            self._write_counts()
        self._write_mesh()
        return rings

    def _write_mesh(self) -> None:
        stored = self._stored
        left = stored._replace(now_ms=self.now_ms, token=self._token, revision=self._revision, ahead_ms=self._ahead_ms)
        if self.has_changes or left[1:] != stored[1:]:
            self.connection.execute(
                "UPDATE meshes SET now_ms = ?, token = ?, revision = ?, ahead_ms = ? WHERE id = ?",
                (self.now_ms, self._token, self._revision, self._ahead_ms, self.mesh),
            )
            stored = left
        if self.learned is not None:
            self.learned.mesh, self.learned.changes = stored, self.connection.total_changes

    def _send_hints(self) -> list[Ring]:
        topics = {topic for topic, _ in self._hints}.union(self._events)
        if not topics:
            return []
        found = _subscribed(self.connection, self.mesh, topics)
        if not found:
            if self.learned is not None:
                self.learned.is_heard = False
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
        rows = [(self.mesh, state, by, self._audited[state]) for state, by in self._counts.items()]
        execute_rows(
            self.connection,
            "INSERT INTO task_counts (mesh, state, tasks, audited) VALUES {rows}"
            " ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks, audited = audited + excluded.audited",
            [row for row in rows if row[2] or row[3]],
        )


def _subscribed(connection: sqlite3.Connection, mesh: int, topics: Collection[str]) -> list[tuple[str, str]]:
    """Return topic and bell of every subscriber to these topics."""
    if len(topics) == 1:
        select = "SELECT topic, bell FROM subscribers WHERE mesh = ? AND topic = ?"
        return connection.execute(select, (mesh, *topics)).fetchall()
    select = "SELECT topic, bell FROM subscribers WHERE mesh = ? AND topic IN (SELECT value FROM json_each(?))"
    return connection.execute(select, (mesh, array(topics))).fetchall()


def read_paused(stored: str) -> frozenset[str]:
    """Return the paused task types as the mesh's row has them."""
    return frozenset() if stored == "[]" else _decode_paused(stored)
