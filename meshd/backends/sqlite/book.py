"""The task book: tasks opened, changed by `states.apply`, and written back within one transaction.

Whoever changes a task does it here, so counts, events, hints and wake-ups always follow from the change itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.task_rows import (
    INSERT,
    SELECT_LIGHT,
    SELECT_WHOLE,
    UPDATE,
    Row,
    changed_row,
    content_row,
    new_row,
    read_task,
)
from meshd.backends.sqlite.transaction import Transaction
from meshd.tasks import states
from meshd.tasks.model import NewTask, Task, TaskState
from meshd.tasks.store import TASKS_LOG


class TaskBook:
    """Tasks by id, as they are now in this transaction; `save` writes those that changed."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._tasks: dict[str, Task] = {}
        self._seqs: dict[str, int] = {}
        self._changed: set[str] = set()

    def open(self, task_ids: Iterable[str], *, whole: bool = False) -> None:
        """Read these tasks, as far as they are kept."""
        select = SELECT_WHOLE if whole else SELECT_LIGHT
        rows = self._transaction.connection.execute(
            f"{select} WHERE t.mesh = ? AND t.id IN (SELECT value FROM json_each(?))",
            (self._transaction.mesh, array(set(task_ids))),
        ).fetchall()
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> Task:
        """Take in a row read elsewhere in this transaction."""
        task = read_task(row)
        self._tasks[task.id] = task
        self._seqs[task.id] = row[0]
        return task

    def get(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def apply(self, task: Task, event: states.TaskEvent, *, verb: str | None) -> Task:
        """Return the task after `event`; log it as `verb` if it changed anything.

        Raises:
            FencedError: see `states.apply`.
            InvalidTransitionError: see `states.apply`.
        """
        after = states.apply(task, event)
        if after is not task:
            self._put(after)
            self._transaction.raise_token(after.token)
            if verb is not None:
                self._note(task, after, verb)
        return after

    def watch(self, task_id: str, topic: str) -> Task | None:
        """Have `topic` told when an opened task ends, unless it has; return the task."""
        task = self._tasks.get(task_id)
        if task is None or task.state.is_terminal or topic in task.watchers:
            return task
        watched = replace(task, watchers=(*task.watchers, topic))
        self._put(watched)
        return watched

    def _put(self, task: Task) -> None:
        self._tasks[task.id] = task
        self._changed.add(task.id)

    def create(self, seq_and_new: Sequence[tuple[int, NewTask]]) -> list[Task]:
        """Write new tasks at once and return them."""
        transaction = self._transaction
        tasks = [states.create(new, now_ms=transaction.now_ms) for _, new in seq_and_new]
        rows = [new_row(seq, transaction.mesh, task) for (seq, _), task in zip(seq_and_new, tasks, strict=True)]
        execute_rows(transaction.connection, INSERT, rows)
        contents = [content_row(seq, new) for seq, new in seq_and_new]
        execute_rows(transaction.connection, "INSERT INTO payloads (seq, payload, context) VALUES {rows}", contents)
        for task in tasks:
            self._note(None, task, "submitted")
        return tasks

    def save(self) -> None:
        """Write every changed task."""
        rows = [changed_row(self._seqs[task_id], self._tasks[task_id]) for task_id in self._changed]
        execute_rows(self._transaction.connection, UPDATE, rows)
        self._changed.clear()

    def _note(self, before: Task | None, after: Task, verb: str) -> None:
        transaction = self._transaction
        state = after.state.value
        transaction.log(TASKS_LOG, {"event": verb, "task": after.id, "state": state, "token": after.token})
        if before is not None:
            if before.state is after.state:
                return
            transaction.count(before.state.value, after.route, -1)
        transaction.count(state, after.route, 1)
        if after.state is TaskState.READY:
            transaction.wake(after.route)
        elif after.state.is_terminal:
            for topic in after.watchers:
                transaction.publish(topic, {"task": after.id, "state": state})
