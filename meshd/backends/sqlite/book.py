"""The task book: tasks opened, changed by `states.apply`, and written back within one transaction.

Whoever changes a task does it here, so counts, events, hints and wake-ups always follow from the change itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from meshd.backends.sqlite.bulk import array, execute_rows, update_rows
from meshd.backends.sqlite.lanes import lane_of
from meshd.backends.sqlite.queues import Queue
from meshd.backends.sqlite.task_rows import (
    BIRTH,
    INSERT,
    SELECT_LIGHT,
    SELECT_WHOLE,
    UPDATE,
    UPDATE_BIRTH,
    UPDATE_CHECKSUM,
    UPDATE_HELD,
    Row,
    birth_of,
    changed_row,
    checksum,
    content_row,
    held_row,
    new_row,
    read_task,
)
from meshd.backends.sqlite.transaction import Transaction
from meshd.tasks import states
from meshd.tasks.model import NewTask, Task, TaskState
from meshd.tasks.store import TASKS_LOG, TOLD_RESULT


class TaskBook:
    """Tasks by id, as they are now in this transaction; `save` writes those that changed."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._tasks: dict[str, Task] = {}
        self._seqs: dict[str, int] = {}
        self._changed: dict[str, Task] = {}
        """The tasks to write, as they were read."""
        self._reborn: set[str] = set()
        self._ended: list[Task] = []
        """Tasks that have ended and for which others wait."""

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
            self._put(task, after)
            if after.priority is not task.priority:
                self._reborn.add(after.id)
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
        self._put(task, watched)
        return watched

    def _put(self, before: Task, after: Task) -> None:
        self._tasks[after.id] = after
        self._changed.setdefault(after.id, before)

    def create(
        self, seq_and_new: Sequence[tuple[int, NewTask]], *, waits: Mapping[str, tuple[str, ...]] | None = None
    ) -> list[Task]:
        """Write new tasks at once and return them; with `waits`, whom each waits for, they are opened as well."""
        transaction = self._transaction
        waits_for = waits or {}
        tasks = [
            states.create(new, now_ms=transaction.now_ms, waits_for=waits_for.get(new.id, ())) for _, new in seq_and_new
        ]
        rows = [
            new_row(seq, transaction.mesh, task, hold_back_ms=_hold_back_ms(new))
            for (seq, new), task in zip(seq_and_new, tasks, strict=True)
        ]
        execute_rows(transaction.connection, INSERT, rows)
        contents = [content_row(seq, new, birth=row[BIRTH]) for (seq, new), row in zip(seq_and_new, rows, strict=True)]
        insert = "INSERT INTO payloads (seq, payload, context, decision, checksum) VALUES {rows}"
        execute_rows(transaction.connection, insert, contents)
        for task in tasks:
            self._note(None, task, "submitted")
        if waits is not None:
            self._tasks.update((task.id, task) for task in tasks)
            self._seqs.update((new.id, seq) for seq, new in seq_and_new)
        return tasks

    def save(self) -> None:
        """Write every changed task."""
        connection = self._transaction.connection
        held: list[Row] = []
        changed: list[Row] = []
        for task_id, before in self._changed.items():
            seq, after = self._seqs[task_id], self._tasks[task_id]
            if _is_held_as_before(before, after):
                held.append(held_row(seq, after))
            else:
                changed.append(changed_row(seq, after))
        update_rows(connection, UPDATE_HELD, held)
        update_rows(connection, UPDATE, changed)
        if self._reborn:
            self._save_births()
        if self._ended:
            self._send_out()
        self._changed.clear()
        self._reborn.clear()

    def _send_out(self) -> None:
        """Note the ends that are to be told."""
        mesh = self._transaction.mesh
        rows = [(mesh, task.id, task.generation, task.state.value) for task in self._ended]
        insert = "INSERT OR REPLACE INTO outbox (mesh, parent, generation, state) VALUES {rows}"
        execute_rows(self._transaction.connection, insert, rows)
        self._transaction.settles = True
        self._ended.clear()

    def _save_births(self) -> None:
        """Write what is fixed from the start, but for the priority; the tasks were opened whole."""
        connection = self._transaction.connection
        for task_id in self._reborn:
            seq, task = self._seqs[task_id], self._tasks[task_id]
            birth = birth_of(task)
            update_rows(connection, UPDATE_BIRTH, [(seq, birth)])
            total = checksum(task_id, birth, (task.payload, task.context, task.decision))
            update_rows(connection, UPDATE_CHECKSUM, [(seq, total)])

    def _note(self, before: Task | None, after: Task, verb: str) -> None:
        transaction = self._transaction
        state = after.state.value
        transaction.log(TASKS_LOG, {"event": verb, "task": after.id, "state": state, "token": after.token})
        self._note_queue(before, after)
        if before is not None:
            if before.state is after.state:
                return
            transaction.count(before.state.value, -1, task_id=after.id)
        transaction.count(state, 1, task_id=after.id)
        if after.state.is_terminal:
            if after.is_awaited:
                self._ended.append(after)
            for topic in after.watchers:
                transaction.publish(topic, {"task": after.id, "state": state, **_told(after.result)})

    def _note_queue(self, before: Task | None, after: Task) -> None:
        """Say where the task waits now and, if it was not claimed, where it does no longer."""
        transaction = self._transaction
        old = None if before is None else lane_of(before)
        lane = lane_of(after)
        if lane is not None:
            queue = Queue(lane, after.route)
            transaction.enqueue(queue, after.vt)
            if lane != old:
                transaction.wake(queue)
        if old is not None and old != lane and after.state is not TaskState.CLAIMED:
            transaction.leave(Queue(old, after.route))


def _is_held_as_before(before: Task, after: Task) -> bool:
    """Whether nothing changed that an index is made from."""
    return (
        before.state.is_held
        and after.state.is_held
        and before.token == after.token
        and before.lease_until_ms == after.lease_until_ms
        and before.vt == after.vt
    )


def _hold_back_ms(new: NewTask) -> int | None:
    return None if new.placement is None or new.placement.pinned else new.placement.hold_back_ms


def _told(result: bytes | None) -> dict[str, str]:
    """Return what the hint of an end carries of a result: a short one in plain JSON."""
    is_told = result is not None and len(result) <= TOLD_RESULT and result[:1] >= b" "
    return {"result": result.decode()} if result is not None and is_told else {}
