"""What is not handed out: task types, or everything. Kept in the mesh's row, which every transaction reads anyway."""

from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.queues import Queue, count_ready
from meshd.backends.sqlite.transaction import Transaction
from meshd.tasks.store import MAX_BATCH


def pause(transaction: Transaction, task_type: str | None) -> None:
    """Stop handing out tasks of a type, or all."""
    _write(transaction, transaction.paused | {task_type or ""})


def resume(transaction: Transaction, task_type: str | None) -> None:
    """Hand them out again, and wake claimers for what is ready."""
    if (task_type or "") not in transaction.paused:
        return
    _write(transaction, transaction.paused - {task_type or ""})
    queues = transaction.connection.execute("SELECT lane, route FROM queues WHERE mesh = ?", (transaction.mesh,))
    for lane, route in queues.fetchall():
        if task_type is None or route.partition("+")[0] == task_type:
            queue = Queue(lane, route)
            tasks = count_ready(transaction.connection, transaction.mesh, queue, limit=MAX_BATCH)
            transaction.wake(queue, tasks)


def _write(transaction: Transaction, paused: frozenset[str]) -> None:
    transaction.paused = paused
    transaction.connection.execute(
        "UPDATE meshes SET paused = ? WHERE id = ?", (array(sorted(paused)), transaction.mesh)
    )
