"""Submit and claim: how tasks come in, and in what order they go out."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from typing import Any

from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.task_rows import SELECT_WHOLE, Row
from meshd.backends.sqlite.transaction import Transaction
from meshd.backends.sqlite.waiting import (
    forget_waiting,
    profile_serves,
    register_waiting,
    write_profile,
)
from meshd.tasks import states
from meshd.tasks.model import Claimer, Durability, NewTask, Receipt, Task, TaskState
from meshd.tasks.store import MAX_BATCH

_READY = f"{SELECT_WHOLE} WHERE t.mesh = ? AND t.route = ? AND t.state = 'ready' ORDER BY t.vt, t.seq"


def submit(transaction: Transaction, tasks: Sequence[NewTask], durability: Durability) -> list[Receipt]:
    """Create the tasks that are new, and answer for each."""
    kept = _kept(transaction, tasks)
    fresh: list[NewTask] = []
    receipts: list[Receipt] = []
    for new in tasks:
        known = kept.get(new.id) or (kept.get(_key(new)) if new.idempotency_key is not None else None)
        if known is None:
            fresh.append(new)
            state = TaskState.SCHEDULED if new.delay_ms > 0 else TaskState.READY
            kept[new.id] = (new.id, state)
            if new.idempotency_key is not None:
                kept[_key(new)] = kept[new.id]
        task_id, state = known or kept[new.id]
        receipts.append(Receipt(task_id=task_id, created=known is None, state=state, durability=durability))
    last = transaction.connection.execute("SELECT coalesce(max(seq), 0) FROM tasks").fetchone()[0]
    TaskBook(transaction).create(list(enumerate(fresh, last + 1)))
    _watch_known(transaction, tasks, receipts)
    return receipts


def _key(new: NewTask) -> tuple[str, str | None]:
    return ("idempotency key", new.idempotency_key)


def _kept(transaction: Transaction, tasks: Sequence[NewTask]) -> dict[object, tuple[str, TaskState]]:
    """Return the kept tasks that have the id or the key of one of `tasks`, by both."""
    connection, mesh = transaction.connection, transaction.mesh
    kept: dict[object, tuple[str, TaskState]] = {}
    for task_id, state in connection.execute(
        "SELECT id, state FROM tasks WHERE mesh = ? AND id IN (SELECT value FROM json_each(?))",
        (mesh, array(new.id for new in tasks)),
    ):
        kept[task_id] = (task_id, TaskState(state))
    keys = [new.idempotency_key for new in tasks if new.idempotency_key is not None]
    if keys:
        for key, task_id, state in connection.execute(
            "SELECT idempotency_key, id, state FROM tasks"
            " WHERE mesh = ? AND idempotency_key IN (SELECT value FROM json_each(?))",
            (mesh, array(keys)),
        ):
            kept["idempotency key", key] = (task_id, TaskState(state))
    return kept


def _watch_known(transaction: Transaction, tasks: Sequence[NewTask], receipts: Sequence[Receipt]) -> None:
    """Add the watchers of repeated submits to the tasks that have their place."""
    watched = [
        (receipt.task_id, new.watcher)
        for new, receipt in zip(tasks, receipts, strict=True)
        if new.watcher and not receipt.created
    ]
    if watched:
        book = TaskBook(transaction)
        book.open(task_id for task_id, _ in watched)
        for task_id, topic in watched:
            book.watch(task_id, topic)
        book.save()


def claim(transaction: Transaction, claimer: Claimer, *, limit: int, lease_ms: int, bell: str) -> list[Task]:
    """Hand out what is ready; register the claimer as waiting if that is less than it asked for."""
    book = TaskBook(transaction)
    claimed: list[Task] = []
    visited = 0
    with ExitStack() as cursors:
        for row in _ready(transaction, claimer, cursors) if limit > 0 else ():
            task = book.add(row)
            visited += 1
            if states.is_overdue(task, transaction.now_ms):
                book.apply(task, states.Expire(now_ms=transaction.now_ms), verb="expired")
            else:
                claimed.append(_hand_out(book, transaction, task, claimer, lease_ms))
            if len(claimed) == limit or visited == 2 * MAX_BATCH:
                break
    book.save()
    if len(claimed) == limit or not bell:
        forget_waiting(transaction.connection, mesh=transaction.mesh, node_id=claimer.node_id)
    else:
        register_waiting(transaction.connection, mesh=transaction.mesh, claimer=claimer, bell=bell)
    return claimed


def _hand_out(book: TaskBook, transaction: Transaction, task: Task, claimer: Claimer, lease_ms: int) -> Task:
    event = states.Claim(
        node_id=claimer.node_id,
        incarnation=claimer.incarnation,
        token=transaction.next_token(),
        lease_until_ms=transaction.now_ms + lease_ms,
    )
    return book.apply(task, event, verb="claimed")


def _ready(transaction: Transaction, claimer: Claimer, cursors: ExitStack) -> Iterator[Row]:
    """Yield the rows of ready tasks the claimer serves in the order of service, reading no more than are taken."""
    connection, mesh = transaction.connection, transaction.mesh
    profile = write_profile(claimer.task_types, claimer.capabilities)
    routes = connection.execute(
        "SELECT route FROM task_counts WHERE mesh = ? AND state = 'ready' AND tasks > 0", (mesh,)
    ).fetchall()
    queues: list[sqlite3.Cursor] = [
        cursors.enter_context(closing(connection.execute(_READY, (mesh, route))))
        for (route,) in routes
        if profile_serves(profile, route)
    ]
    return iter(queues[0]) if len(queues) == 1 else merge(*queues, key=_place)


def _place(row: Row) -> tuple[Any, Any]:
    return row[1], row[0]
