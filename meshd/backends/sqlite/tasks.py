"""The task port on SQLite: each call is one function on the store's thread, in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from meshd.backends.port import BackendOptions
from meshd.backends.sqlite import pausing, queue, steps, sweep
from meshd.backends.sqlite.audit import audit
from meshd.backends.sqlite.bells import Bell
from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.forgetting import purge
from meshd.backends.sqlite.parents import has_outbox, settle
from meshd.backends.sqlite.submit import submit
from meshd.backends.sqlite.task_rows import SELECT_WHOLE, read_task
from meshd.backends.sqlite.transaction import Transaction, read_paused
from meshd.errors import ConfigurationError, NotFoundError
from meshd.tasks import states
from meshd.tasks.audit import AuditPage
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Durability,
    Ending,
    Hold,
    NewTask,
    Outcome,
    Pauses,
    Priority,
    Receipt,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
    Wake,
)
from meshd.tasks.store import FEW_STEPS, MANY_STEPS, MAX_BATCH, TOLD_AT_ONCE, check_batch, check_parents

_SCANNED = 2_000
"""Most tasks one page of a listing looks at."""

_AFTER_ALL = "\U0010ffff"


class SqliteTaskStore:
    """Implements `meshd.tasks.store.TaskStore`."""

    starts_ahead = False

    def __init__(self, database: Database, bell: Bell, options: BackendOptions) -> None:
        self._database = database
        self._bell = bell
        self._timings = options.tasks
        self._queue_size = options.queue_size

    async def submit(self, tasks: Sequence[NewTask], *, durability: Durability | None = None) -> Sequence[Receipt]:
        check_batch(tasks)
        check_parents(tasks)
        given = self._database.location.durability
        if durability is not None and durability > given:
            raise ConfigurationError(
                f"store {self._database.location.path} gives durability {given}, not {durability}: open it with "
                "?synchronous=full for D2; a file has no replicas for D3"
            )
        return await self._database.write(
            lambda transaction: submit(transaction, tasks, durability=given, queue_size=self._queue_size)
        )

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int, alone: bool = False) -> Claimed:
        bell = self._bell.hang()
        self._bell.quiet(claimer.node_id)
        wish = queue.Wish(claimer=claimer, limit=min(limit, MAX_BATCH), lease_ms=lease_ms, alone=alone, bell=bell)
        return await self._database.write(lambda transaction: queue.claim(transaction, wish))

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> Wake:
        return Wake(rang=await self._bell.wait_for_work(claimer.node_id, timeout_ms=timeout_ms))

    async def reconcile(self, claimer: Claimer, *, known: Sequence[Hold]) -> int:
        kept = frozenset(known)
        return await self._in_batches(lambda transaction: steps.reconcile(transaction, claimer, kept))

    async def start(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        check_batch(holds)
        return await self._database.write(lambda transaction: steps.start(transaction, holds))

    async def renew(self, holds: Sequence[Hold], *, lease_ms: int) -> Sequence[Outcome]:
        check_batch(holds)
        return await self._database.write(lambda transaction: steps.renew(transaction, holds, lease_ms))

    async def progress(self, hold: Hold, *, fraction: float | None, note: str) -> Outcome:
        return await self._database.write(lambda transaction: steps.progress(transaction, hold, fraction, note))

    async def finish(self, endings: Sequence[Ending]) -> Sequence[Outcome]:
        check_batch(endings)

        def finish(transaction: Transaction) -> tuple[Sequence[Outcome], bool]:
            outcomes = steps.finish(transaction, endings)
            is_repeated = Outcome.ALREADY_DONE in outcomes
            return outcomes, transaction.settles or (is_repeated and has_outbox(transaction))

        outcomes, settles = await self._database.write(finish)
        if settles:
            await self._settle(steps=FEW_STEPS)
        return outcomes

    async def _settle(self, *, steps: int) -> tuple[int, bool]:
        """Tell tasks of the ends they wait for; return how many were told, and whether there are more."""
        told, more = 0, True
        while more and steps > 0:
            batch, more = await self._database.write(lambda transaction: settle(transaction, limit=TOLD_AT_ONCE))
            told, steps = told + batch, steps - 1
        return told, more

    async def cancel(self, task_id: str, *, reason: str) -> Task:
        def cancel(transaction: Transaction) -> tuple[Task, bool]:
            book, task = _open_one(transaction, task_id)
            running = task.state is TaskState.RUNNING
            event = states.Cancel(reason=reason, now_ms=transaction.now_ms)
            after = book.apply(task, event, verb="cancel_requested" if running else "cancelled")
            book.save()
            return after, transaction.settles or has_outbox(transaction)

        task, settles = await self._database.write(cancel)
        if settles:
            await self._settle(steps=FEW_STEPS)
        return task

    async def redrive(self, task_id: str) -> Task:
        def redrive(transaction: Transaction) -> Task:
            book, task = _open_one(transaction, task_id)
            after = book.apply(task, states.Redrive(now_ms=transaction.now_ms), verb="redriven")
            book.save()
            return after

        return await self._database.write(redrive)

    async def reprioritize(self, task_id: str, priority: Priority) -> Task:
        def reprioritize(transaction: Transaction) -> Task:
            book, task = _open_one(transaction, task_id)
            after = book.apply(task, states.Reprioritize(priority=priority), verb="reprioritized")
            book.save()
            return after

        return await self._database.write(reprioritize)

    async def purge(self, task_ids: Sequence[str]) -> Sequence[bool]:
        check_batch(task_ids)
        return await self._database.write(lambda transaction: purge(transaction, task_ids))

    async def pause(self, task_type: str | None = None) -> None:
        await self._database.write(lambda transaction: pausing.pause(transaction, task_type))

    async def resume(self, task_type: str | None = None) -> None:
        await self._database.write(lambda transaction: pausing.resume(transaction, task_type))

    async def paused(self) -> Pauses:
        def paused(reader: Reader) -> Pauses:
            row = reader.connection.execute("SELECT paused FROM meshes WHERE id = ?", (reader.mesh,)).fetchone()
            names = read_paused(row[0])
            return Pauses(mesh="" in names, task_types=names - {""})

        return await self._database.read(paused)

    async def get(self, task_ids: Sequence[str]) -> Sequence[Task | None]:
        def get(reader: Reader) -> list[Task | None]:
            rows = reader.connection.execute(
                f"{SELECT_WHOLE} WHERE t.mesh = ? AND t.id IN (SELECT value FROM json_each(?))",
                (reader.mesh, array(task_ids)),
            )
            found = {task.id: task for task in map(read_task, rows)}
            return [found.get(task_id) for task_id in task_ids]

        return await self._database.read(get)

    async def list(self, where: TaskFilter, *, limit: int, cursor: str | None = None) -> TaskPage:
        return await self._database.read(lambda reader: _page(reader, where, limit, cursor))

    async def counts(self) -> Mapping[TaskState, int]:
        def counts(reader: Reader) -> dict[TaskState, int]:
            rows = reader.connection.execute("SELECT state, tasks FROM task_counts WHERE mesh = ?", (reader.mesh,))
            return dict.fromkeys(TaskState, 0) | {TaskState(state): tasks for state, tasks in rows}

        return await self._database.read(counts)

    async def open_counts(self, node_ids: Sequence[str]) -> Mapping[str, int]:
        def open_counts(reader: Reader) -> dict[str, int]:
            rows = reader.connection.execute(
                "SELECT node_id, count(*) FROM tasks WHERE mesh = ? AND lease_until_ms <> 0"
                " AND node_id IN (SELECT value FROM json_each(?)) GROUP BY node_id",
                (reader.mesh, array(node_ids)),
            )
            return dict.fromkeys(node_ids, 0) | dict(rows)

        return await self._database.read(open_counts)

    async def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        moved = await self._in_batches(lambda transaction: sweep.reclaim(transaction, node_id, up_to_incarnation))
        await self._in_batches(lambda transaction: sweep.open_placed(transaction, node_id))
        return moved

    async def _in_batches(self, step: Callable[[Transaction], int]) -> int:
        """Repeat a step that does up to `MAX_BATCH` until it finds less; return how much it did in all."""
        done = 0
        while True:
            batch = await self._database.write(step)
            done += batch
            if batch < MAX_BATCH:
                return done

    async def sweep(self, *, limit: int = 200) -> SweepReport:
        def step(transaction: Transaction) -> tuple[SweepReport, bool]:
            return sweep.sweep(transaction, limit=limit, timings=self._timings), has_outbox(transaction)

        report, settles = await self._database.write(step)
        if not settles:
            return report
        told, more = await self._settle(steps=MANY_STEPS)
        return replace(report, settled=told, more=report.more or more)

    async def audit(self, *, repair: bool, cursor: str | None = None) -> AuditPage:
        lease_ms = self._timings.lease_ms
        return await self._database.write(
            lambda transaction: audit(transaction, repair=repair, cursor=cursor, lease_ms=lease_ms)
        )

    async def watch(self, task_ids: Sequence[str], *, topic: str) -> Sequence[Task | None]:
        def watch(transaction: Transaction) -> list[Task | None]:
            book = TaskBook(transaction)
            book.open(task_ids, whole=True)
            watched = [book.watch(task_id, topic) for task_id in task_ids]
            book.save()
            return watched

        return await self._database.write(watch)


def _open_one(transaction: Transaction, task_id: str) -> tuple[TaskBook, Task]:
    book = TaskBook(transaction)
    book.open([task_id], whole=True)
    task = book.get(task_id)
    if task is None:
        raise NotFoundError(f"no task {task_id}: it never existed, or its retention has passed")
    return book, task


def _page(reader: Reader, where: TaskFilter, limit: int, cursor: str | None) -> TaskPage:
    """Return the next page; it looks at a bounded number of tasks however few of them match."""
    ids = reader.connection.execute(
        "SELECT id FROM tasks WHERE mesh = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (reader.mesh, cursor or _AFTER_ALL, _SCANNED),
    ).fetchall()
    if not ids:
        return TaskPage(tasks=(), cursor=None)
    last = ids[-1][0]
    rows = reader.connection.execute(
        f"{SELECT_WHOLE} WHERE t.mesh = ? AND t.id BETWEEN ? AND ?"
        " AND (? = '[]' OR t.state IN (SELECT value FROM json_each(?))) AND (? = '' OR t.node_id = ?)"
        " AND (? = '' OR t.route = ? OR substr(t.route, 1, length(?) + 1) = ? || '+') ORDER BY t.id DESC LIMIT ?",
        (reader.mesh, last, ids[0][0], *[array(where.states)] * 2, *[where.node_id] * 2, *[where.type] * 4, limit),
    ).fetchall()
    tasks = tuple(map(read_task, rows))
    if len(tasks) == limit and tasks[-1].id != last:
        return TaskPage(tasks=tasks, cursor=tasks[-1].id)
    return TaskPage(tasks=tasks, cursor=last if len(ids) == _SCANNED else None)
