"""Forgetting ended tasks: when their retention is over, or on request. Their idempotency keys are free again."""

from collections.abc import Sequence

from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.transaction import Transaction
from meshd.tasks.model import TaskState
from meshd.tasks.store import TASKS_LOG


def forget(transaction: Transaction, limit: int) -> int:
    """Remove up to `limit` ended tasks past their retention; return how many."""
    rows = transaction.connection.execute(
        "SELECT seq, id, state FROM tasks WHERE mesh = ? AND forget_ms <= ? ORDER BY forget_ms LIMIT ?",
        (transaction.mesh, transaction.now_ms, limit),
    ).fetchall()
    _remove(transaction, rows)
    return len(rows)


def purge(transaction: Transaction, task_ids: Sequence[str]) -> list[bool]:
    """Remove those of the tasks that have ended, and say of each whether it was removed by this call, once."""
    rows = transaction.connection.execute(
        "SELECT seq, id, state, token FROM tasks WHERE mesh = ? AND id IN (SELECT value FROM json_each(?))",
        (transaction.mesh, array(set(task_ids))),
    ).fetchall()
    ended = [row for row in rows if TaskState(row[2]).is_terminal]
    for _, task_id, state, token in ended:
        transaction.log(TASKS_LOG, {"event": "purged", "task": task_id, "state": state, "token": token})
    _remove(transaction, [(seq, task_id, state) for seq, task_id, state, _ in ended])
    gone = {task_id for _, task_id, _, _ in ended}
    return [task_id in gone and task_id not in task_ids[:place] for place, task_id in enumerate(task_ids)]


def _remove(transaction: Transaction, seq_id_state: Sequence[tuple[int, str, str]]) -> None:
    if not seq_id_state:
        return
    seqs = array(seq for seq, _, _ in seq_id_state)
    transaction.connection.execute("DELETE FROM payloads WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
    transaction.connection.execute("DELETE FROM tasks WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
    for _, task_id, state in seq_id_state:
        transaction.count(state, -1, task_id=task_id)
