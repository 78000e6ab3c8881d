"""Submit: how tasks come in, once each and never more than may wait."""

from collections.abc import Sequence

from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.parents import Family
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import BackpressureError
from meshd.tasks.model import Durability, NewTask, Receipt, TaskState

_WAITS = (TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.READY)


def submit(
    transaction: Transaction, tasks: Sequence[NewTask], *, durability: Durability, queue_size: int | None
) -> list[Receipt]:
    """Create the tasks that are new, unless too many would wait then, and answer for each."""
    kept = _kept(transaction, tasks)
    family = Family(transaction, tasks) if any(new.depends_on for new in tasks) else None
    fresh: list[NewTask] = []
    ended = 0
    receipts: list[Receipt] = []
    for new in tasks:
        known = kept.get(new.id) or (kept.get(_key(new)) if new.idempotency_key is not None else None)
        if known is not None and family is not None:
            family.know(new, task_id=known[0], state=known[1])
        if known is None:
            state = TaskState.SCHEDULED if new.delay_ms > 0 else TaskState.READY
            added = new
            if family is not None:
                added, state = family.add(new)
                ended += state.is_terminal
            fresh.append(added)
            kept[new.id] = (new.id, state)
            if new.idempotency_key is not None:
                kept[_key(new)] = kept[new.id]
        task_id, state = known or kept[new.id]
        receipts.append(Receipt(task_id=task_id, created=known is None, state=state, durability=durability))
    if fresh and queue_size is not None:
        _check_room(transaction, len(fresh) - ended, queue_size)
    last = transaction.connection.execute("SELECT coalesce(max(seq), 0) FROM tasks").fetchone()[0]
    (TaskBook(transaction) if family is None else family).create(list(enumerate(fresh, last + 1)))
    _watch_known(transaction, tasks, receipts)
    return receipts


def _check_room(transaction: Transaction, fresh: int, queue_size: int) -> None:
    waiting = transaction.connection.execute(
        f"SELECT coalesce(sum(tasks), 0) FROM task_counts WHERE mesh = ? AND state IN ({', '.join('?' * len(_WAITS))})",
        (transaction.mesh, *_WAITS),
    ).fetchone()[0]
    if waiting + fresh > queue_size:
        raise BackpressureError(
            f"{waiting} tasks wait and {fresh} more would be over the queue size of {queue_size}: submit again later"
        )


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
