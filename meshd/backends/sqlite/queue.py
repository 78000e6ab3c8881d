"""Claim: in what order tasks go out, and to whom."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace

from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.lanes import lanes_for, node_of
from meshd.backends.sqlite.queues import Queue, count_ready, drop_empty, queues_in, raise_head
from meshd.backends.sqlite.task_rows import SELECT_WHOLE, Row
from meshd.backends.sqlite.transaction import Transaction
from meshd.backends.sqlite.waiting import forget_waiting, profile_serves, register_waiting, write_profile
from meshd.tasks import states
from meshd.tasks.model import Claimed, Claimer, Task
from meshd.tasks.store import MAX_BATCH

_READY = (
    f"{SELECT_WHOLE} WHERE t.mesh = ? AND t.lane = ? AND t.route = ? AND (t.vt, t.seq) > (?, ?)"
    " ORDER BY t.vt, t.seq LIMIT ?"
)
_BEFORE_ALL = -(2**63)
_FIRST_CHUNK = 4
"""Rows read at first of a queue that is one of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a claim asks for."""

    claimer: Claimer
    limit: int
    lease_ms: int
    alone: bool
    """One suspect and nothing else."""
    bell: str
    """Rung when there is more; empty where no bell is to be had."""


def claim(transaction: Transaction, wish: Wish) -> Claimed:
    """Hand out what is ready; register the claimer as waiting if that is less than it asked for."""
    limit = min(wish.limit, 1) if wish.alone else wish.limit
    claimed = _take(transaction, wish, limit) if limit > 0 else []
    if len(claimed) == limit or not wish.bell:
        forget_waiting(transaction.connection, mesh=transaction.mesh, node_id=wish.claimer.node_id)
    else:
        register_waiting(transaction.connection, mesh=transaction.mesh, claimer=wish.claimer, bell=wish.bell)
    return Claimed(
        tasks=tuple(claimed),
        suspects_wait=_suspects_wait(transaction, wish.claimer),
        now_ms=transaction.now_ms,
    )


def _take(transaction: Transaction, wish: Wish, limit: int) -> list[Task]:
    book = TaskBook(transaction)
    claimed: list[Task] = []
    with closing(_Ready(transaction, wish, limit=limit)) as ready:
        for visited, row in enumerate(ready.rows(), 1):
            task = book.add(row)
            if states.is_overdue(task, transaction.now_ms):
                book.apply(task, states.Expire(now_ms=transaction.now_ms), verb="expired")
            else:
                claimed.append(_hand_out(book, transaction, task, wish))
            if len(claimed) == limit or visited == 2 * MAX_BATCH:
                break
    book.save()
    ready.note_heads()
    return claimed


def _hand_out(book: TaskBook, transaction: Transaction, task: Task, wish: Wish) -> Task:
    event = states.Claim(
        node_id=wish.claimer.node_id,
        incarnation=wish.claimer.incarnation,
        token=transaction.next_token(),
        lease_until_ms=transaction.now_ms + wish.lease_ms,
    )
    return book.apply(task, event, verb="claimed")


def _suspects_wait(transaction: Transaction, claimer: Claimer) -> bool:
    """Return whether a suspect is ready for the claimer, once it holds nothing else."""
    connection, mesh = transaction.connection, transaction.mesh
    queues = _queues(transaction, claimer, suspects=True)
    return any(count_ready(connection, mesh, queue, limit=1) for _, queue in queues)


def _queues(transaction: Transaction, claimer: Claimer, *, suspects: bool) -> Generator[tuple[int, Queue], None, None]:
    """Yield the queues a claimer takes from, with the bounds they are ordered by."""
    profile = write_profile(claimer.task_types, claimer.capabilities)
    lanes = lanes_for(claimer.node_id, suspects=suspects)
    for head_vt, lane, route in queues_in(transaction.connection, transaction.mesh, lanes):
        if profile_serves(profile, claimer.node_id, route) and not transaction.is_paused(route):
            yield head_vt, Queue(lane, route)


class _Ready:
    """The ready tasks of a claimer in the order of service; no queue is opened before its turn may have come."""

    def __init__(self, transaction: Transaction, wish: Wish, *, limit: int) -> None:
        self._transaction = transaction
        self._queues = _queues(transaction, wish.claimer, suspects=wish.alone)
        self._limit = limit
        self._open: list[_Open] = []
        self._is_single = False

    def rows(self) -> Iterator[Row]:
        """Yield the rows, smallest virtual time first."""
        heads: list[tuple[int, int, _Open]] = []
        upcoming = next(self._queues, None)
        while heads or upcoming:
            while upcoming and (not heads or upcoming[0] < heads[0][0]):
                (head_vt, queue), upcoming = upcoming, next(self._queues, None)
                self._is_single = upcoming is None and not self._open
                chunk = self._limit if self._is_single else _FIRST_CHUNK
                opened = _Open(self._transaction, queue, head_vt, chunk=chunk)
                self._open.append(opened)
                if opened.row is not None:
                    heappush(heads, (opened.row[1], opened.row[0], opened))
            if not heads:
                return
            opened = heads[0][2]
            yield opened.take()
            opened.read_on()
            if opened.row is None:
                heappop(heads)
            else:
                heapreplace(heads, (opened.row[1], opened.row[0], opened))

    def close(self) -> None:
        """Stop looking for queues."""
        self._queues.close()

    def note_heads(self) -> None:
        """Write down how far each queue was served; call it once the tasks are saved."""
        connection, mesh = self._transaction.connection, self._transaction.mesh
        for opened in self._open:
            if opened.is_empty:
                drop_empty(connection, mesh, [opened.queue])
                continue
            # A bound orders queues among each other: of a single one it may lag, which saves every claim a write.
            if opened.bound > opened.head_vt and not self._is_single:
                raise_head(connection, mesh, opened.queue, opened.bound)
            if opened.row is None and node_of(opened.queue.lane):
                self._transaction.leave(opened.queue)


class _Open:
    """One queue being read, in chunks that grow."""

    def __init__(self, transaction: Transaction, queue: Queue, head_vt: int, *, chunk: int) -> None:
        self.queue = queue
        self.head_vt = head_vt
        """The bound it was found with."""
        self._reached = head_vt
        self._is_read = False
        self._last_seq = 0
        self._transaction = transaction
        self._chunk = chunk
        self._rows: deque[Row] = deque()
        self._read(_BEFORE_ALL, 0)

    @property
    def row(self) -> Row | None:
        """The next row, `None` after the last."""
        return self._rows[0] if self._rows else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of it."""
        return self._is_read and not self._rows

    @property
    def bound(self) -> int:
        """What every task left in it has at least."""
        return self._rows[0][1] if self._rows else self._reached

    def take(self) -> Row:
        """Return the next row; `read_on` before the one after it."""
        row = self._rows.popleft()
        self._reached, self._last_seq = row[1], row[0]
        return row

    def read_on(self) -> None:
        """Make sure of the next row, if there is one."""
        if not self._rows and not self._is_read:
            self._read(self._reached, self._last_seq)

    def _read(self, vt: int, seq: int) -> None:
        arguments = (self._transaction.mesh, *self.queue, vt, seq, self._chunk)
        rows = self._transaction.connection.execute(_READY, arguments).fetchall()
        self._rows.extend(rows)
        self._is_read = len(rows) < self._chunk
        self._chunk *= 2
