"""Dead letters: tasks that were given up, kept with their payload and every error. Look, run again, or forget."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from meshd.clock import Clock, system_clock
from meshd.errors import InvalidArgumentError, InvalidTransitionError, NotFoundError
from meshd.tasks.model import FailureKind, Task, TaskFilter, TaskPage, TaskState
from meshd.tasks.store import TaskStore

PAGE = 200
AT_ONCE = 32
"""Dead letters run again at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters; empty fields match all."""

    ids: frozenset[str] = frozenset()
    type: str = ""
    reason: FailureKind | None = None
    """What the last attempt died of."""
    text: str = ""
    """Found in the message of some error, letter case aside."""
    older_than: timedelta | None = None
    """Dead for at least this long, by this machine's clock."""

    def matches(self, task: Task, *, now_ms: int) -> bool:
        """Return whether a dead task is meant."""
        dead_ms = now_ms - (task.finished_ms or now_ms)
        return (
            (not self.ids or task.id in self.ids)
            and (self.reason is None or task.reason == self.reason)
            and (self.older_than is None or dead_ms >= self.older_than / timedelta(milliseconds=1))
            and (not self.text or any(self.text.lower() in error.message.lower() for error in task.errors))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReport:
    """What a bulk step did."""

    done: tuple[str, ...] = ()
    """Ids, newest first."""
    skipped: tuple[str, ...] = ()
    """Matched when they were listed, and were dead no more when their turn came."""


class DeadLetters:
    """The dead letters of one mesh."""

    def __init__(self, store: TaskStore, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, where: DeadFilter | None = None, *, limit: int = 50, cursor: str | None = None) -> TaskPage:
        """Return up to `limit` dead letters, newest first. A page may be shorter before the end."""
        where = where or DeadFilter()
        page = await self._store.list(_dead(where), limit=limit, cursor=cursor)
        now_ms = self._clock()
        return TaskPage(
            tasks=tuple(task for task in page.tasks if where.matches(task, now_ms=now_ms)), cursor=page.cursor
        )

    async def redrive(self, where: DeadFilter | None = None, *, limit: int | None = None) -> BulkReport:
        """Make the dead letters that match ready again, up to `limit`, newest first; their errors are kept."""

        async def again(tasks: Sequence[Task]) -> list[bool]:
            return [
                made
                for start in range(0, len(tasks), AT_ONCE)
                for made in await asyncio.gather(*map(self._redrive, tasks[start : start + AT_ONCE]))
            ]

        return await self._each(where, limit, again)

    async def purge(self, where: DeadFilter | None = None, *, limit: int | None = None) -> BulkReport:
        """Forget the dead letters that match, up to `limit`, newest first. There is no way back."""

        async def forget(tasks: Sequence[Task]) -> Sequence[bool]:
            return await self._store.purge([task.id for task in tasks])

        return await self._each(where, limit, forget)

    async def _redrive(self, task: Task) -> bool:
        try:
            await self._store.redrive(task.id)
        except (NotFoundError, InvalidTransitionError):
            return False
        return True

    async def _each(
        self,
        where: DeadFilter | None,
        limit: int | None,
        act: Callable[[Sequence[Task]], Awaitable[Sequence[bool]]],
    ) -> BulkReport:
        if limit is not None and limit < 1:
            raise InvalidArgumentError(f"limit {limit} is under 1")
        done: list[str] = []
        skipped: list[str] = []
        async for page in self._pages(where):
            tasks = page if limit is None else page[: limit - len(done)]
            for task, made in zip(tasks, await act(tasks), strict=True):
                (done if made else skipped).append(task.id)
            if limit is not None and len(done) >= limit:
                break
        return BulkReport(done=tuple(done), skipped=tuple(skipped))

    async def _pages(self, where: DeadFilter | None) -> AsyncGenerator[Sequence[Task], None]:
        cursor: str | None = None
        while True:
            page = await self.list(where, limit=PAGE, cursor=cursor)
            if page.tasks:
                yield page.tasks
            cursor = page.cursor
            if cursor is None:
                return


def _dead(where: DeadFilter) -> TaskFilter:
    return TaskFilter(states=frozenset({TaskState.DEAD}), type=where.type)
