"""The task port on SQLite: each call is one function on the store's thread, in one transaction."""

from collections.abc import Mapping, Sequence

from meshd.backends.sqlite import queue, steps, sweep
from meshd.backends.sqlite.bells import Bell
from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.task_rows import SELECT_WHOLE, read_task
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import NotFoundError
from meshd.tasks import states
from meshd.tasks.model import (
    Claimer,
    Ending,
    Hold,
    NewTask,
    Outcome,
    Receipt,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
    TaskTimings,
)
from meshd.tasks.store import MAX_BATCH, check_batch

_SCANNED = 2_000
"""Most tasks one page of a listing looks at."""

_AFTER_ALL = "\U0010ffff"


class SqliteTaskStore:
    """Implements `meshd.tasks.store.TaskStore`."""

    def __init__(self, database: Database, bell: Bell, timings: TaskTimings) -> None:
        self._database = database
        self._bell = bell
        self._timings = timings

    async def submit(self, tasks: Sequence[NewTask]) -> Sequence[Receipt]:
        check_batch(tasks)
        durability = self._database.location.durability
        return await self._database.write(lambda transaction: queue.submit(transaction, tasks, durability))

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int) -> Sequence[Task]:
        bell = self._bell.hang()
        self._bell.quiet(claimer.node_id)
        most = min(limit, MAX_BATCH)
        return await self._database.write(
            lambda transaction: queue.claim(transaction, claimer, limit=most, lease_ms=lease_ms, bell=bell)
        )

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> bool:
        return await self._bell.wait_for_work(claimer.node_id, timeout_ms=timeout_ms)

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
        return await self._database.write(lambda transaction: steps.finish(transaction, endings))

    async def cancel(self, task_id: str, *, reason: str) -> Task:
        def cancel(transaction: Transaction) -> Task:
            book, task = _open_one(transaction, task_id)
            running = task.state is TaskState.RUNNING
            event = states.Cancel(reason=reason, now_ms=transaction.now_ms)
            after = book.apply(task, event, verb="cancel_requested" if running else "cancelled")
            book.save()
            return after

        return await self._database.write(cancel)

    async def redrive(self, task_id: str) -> Task:
        def redrive(transaction: Transaction) -> Task:
            book, task = _open_one(transaction, task_id)
            after = book.apply(task, states.Redrive(now_ms=transaction.now_ms), verb="redriven")
            book.save()
            return after

        return await self._database.write(redrive)

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
            rows = reader.connection.execute(
                "SELECT state, sum(tasks) FROM task_counts WHERE mesh = ? GROUP BY state", (reader.mesh,)
            )
            return dict.fromkeys(TaskState, 0) | {TaskState(state): tasks for state, tasks in rows}

        return await self._database.read(counts)

    async def open_counts(self, node_ids: Sequence[str]) -> Mapping[str, int]:
        def open_counts(reader: Reader) -> dict[str, int]:
            rows = reader.connection.execute(
                "SELECT node_id, count(*) FROM tasks WHERE mesh = ? AND state IN ('claimed', 'running')"
                " AND node_id IN (SELECT value FROM json_each(?)) GROUP BY node_id",
                (reader.mesh, array(node_ids)),
            )
            return dict.fromkeys(node_ids, 0) | dict(rows)

        return await self._database.read(open_counts)

    async def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        moved = 0
        while True:
            batch = await self._database.write(
                lambda transaction: sweep.reclaim(transaction, node_id, up_to_incarnation)
            )
            moved += batch
            if batch < MAX_BATCH:
                return moved

    async def sweep(self, *, limit: int = 200) -> SweepReport:
        return await self._database.write(
            lambda transaction: sweep.sweep(transaction, limit=limit, timings=self._timings)
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
