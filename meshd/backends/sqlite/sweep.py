"""What time makes due: promote, open, reclaim, expire, forget; and taking back what a lost node holds."""

from collections import Counter
from collections.abc import Callable

from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.forgetting import forget
from meshd.backends.sqlite.task_rows import SELECT_LIGHT
from meshd.backends.sqlite.transaction import Transaction
from meshd.clock import system_clock
from meshd.tasks import states
from meshd.tasks.leases import standstill_ms
from meshd.tasks.model import SweepReport, Task, TaskState, TaskTimings
from meshd.tasks.store import MAX_BATCH

HINT_KEPT_MS = 600_000
"""How long a hint waits for a subscriber that is slow to read it."""
HINTS_KEPT = 50_000


_OVERDUE = "t.deadline_ms IS NOT NULL AND t.finished_ms IS NULL AND t.deadline_ms <= ? ORDER BY t.deadline_ms"
_DUE = "t.state = 'scheduled' AND t.due_ms <= ? ORDER BY t.due_ms"
_HELD_BACK = "t.open_ms <= ? ORDER BY t.open_ms"
_LAPSED = "t.lease_until_ms > 0 AND t.lease_until_ms <= ? ORDER BY t.lease_until_ms"


def sweep(transaction: Transaction, *, limit: int, timings: TaskTimings) -> SweepReport:
    """Do one bounded round of everything that is due."""
    now_ms = transaction.now_ms
    graced = _grace(transaction, timings)
    promoted = _sweep(transaction, _DUE, limit, lambda book, task: _promote(book, task, now_ms))
    opened = _sweep(transaction, _HELD_BACK, limit, _open)
    lapsed = _sweep(transaction, _LAPSED, limit, lambda book, task: _reclaim(book, task, now_ms, states.LAPSED))
    expired = _sweep(transaction, _OVERDUE, limit, lambda book, task: _expire(book, task, now_ms))
    forgotten = forget(transaction, limit)
    _clean(transaction)
    return SweepReport(
        promoted=promoted.total(),
        opened=opened.total(),
        reclaimed=lapsed.total() - lapsed[TaskState.DEAD],
        buried=lapsed[TaskState.DEAD],
        expired=expired.total(),
        graced=graced,
        more=limit in (promoted.total(), opened.total(), lapsed.total(), expired.total(), forgotten),
    )


def reclaim(transaction: Transaction, node_id: str, up_to_incarnation: int) -> int:
    """Take back up to `MAX_BATCH` tasks these incarnations of a node hold; return how many."""
    rows = transaction.connection.execute(
        f"{SELECT_LIGHT} WHERE t.mesh = ? AND t.node_id = ? AND t.lease_until_ms <> 0 AND t.incarnation <= ? LIMIT ?",
        (transaction.mesh, node_id, up_to_incarnation, MAX_BATCH),
    ).fetchall()
    book = TaskBook(transaction)
    for row in rows:
        _reclaim(book, book.add(row), transaction.now_ms, states.GONE)
    book.save()
    return len(rows)


def open_placed(transaction: Transaction, node_id: str) -> int:
    """Open up to `MAX_BATCH` tasks that are held back for a node; return how many."""
    rows = transaction.connection.execute(
        f"{SELECT_LIGHT} WHERE t.mesh = ? AND t.placed_on = ? AND t.hold_back_ms IS NOT NULL"
        " AND t.lease_until_ms = 0 AND t.finished_ms IS NULL LIMIT ?",
        (transaction.mesh, node_id, MAX_BATCH),
    ).fetchall()
    book = TaskBook(transaction)
    for row in rows:
        _open(book, book.add(row))
    book.save()
    return len(rows)


def _grace(transaction: Transaction, timings: TaskTimings) -> bool:
    """Extend every lease by the time nobody swept, if that was too long to blame the holders."""
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    swept_ms = connection.execute("SELECT tasks_swept_ms FROM meshes WHERE id = ?", (mesh,)).fetchone()[0]
    connection.execute("UPDATE meshes SET tasks_swept_ms = ? WHERE id = ?", (now_ms, mesh))
    gap_ms = now_ms - swept_ms
    if gap_ms <= standstill_ms(timings):
        return False
    connection.execute(
        "UPDATE tasks SET lease_until_ms = lease_until_ms + ? WHERE mesh = ? AND lease_until_ms > 0",
        (gap_ms, mesh),
    )
    return True


def _sweep(
    transaction: Transaction, where: str, limit: int, move: Callable[[TaskBook, Task], Task]
) -> Counter[TaskState]:
    """Move up to `limit` tasks that match; count them by the state they came to."""
    rows = transaction.connection.execute(
        f"{SELECT_LIGHT} WHERE t.mesh = ? AND {where} LIMIT ?", (transaction.mesh, transaction.now_ms, limit)
    ).fetchall()
    book = TaskBook(transaction)
    moved = Counter(move(book, book.add(row)).state for row in rows)
    book.save()
    return moved


def _expire(book: TaskBook, task: Task, now_ms: int) -> Task:
    return book.apply(task, states.Expire(now_ms=now_ms), verb="expired")


def _promote(book: TaskBook, task: Task, now_ms: int) -> Task:
    return book.apply(task, states.Promote(now_ms=now_ms), verb="promoted")


def _open(book: TaskBook, task: Task) -> Task:
    return book.apply(task, states.Open(), verb="opened")


def _reclaim(book: TaskBook, task: Task, now_ms: int, why: str) -> Task:
    return book.apply(task, states.Reclaim(now_ms=now_ms, why=why), verb="reclaimed")


def _clean(transaction: Transaction) -> None:
    """Drop hints nobody came for."""
    connection = transaction.connection
    fresh = connection.execute(
        "SELECT seq FROM hints WHERE wall_ms >= ? ORDER BY seq LIMIT 1", (system_clock() - HINT_KEPT_MS,)
    ).fetchone()
    newest = connection.execute("SELECT coalesce(max(seq), 0) FROM hints").fetchone()[0]
    keep_from = max(newest - HINTS_KEPT, fresh[0] if fresh else newest + 1)
    connection.execute("DELETE FROM hints WHERE seq < ?", (keep_from,))
