"""Waiting for tasks to end without polling.

Invariant: whoever waits learns of the end. The store tells our topic; as a hint may be lost (a reconnect, a restart of
the store), every task still awaited is also read again each `RECHECK_MS`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from meshd.errors import NotFoundError, UnavailableError
from meshd.events import EventBus, Hint, Subscription
from meshd.tasks.model import Task, TaskState
from meshd.tasks.store import MAX_BATCH, TaskStore

RECHECK_MS = 5_000
MAX_WATCHED = 4_096
"""Most tasks watched from their submit on whose end nobody has asked for yet; the oldest are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a task ended, as far as was asked for: the hint alone, or the whole task."""

    state: TaskState
    result: bytes | None = None
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class _Wait:
    future: asyncio.Future[End]
    is_whole: bool
    """Whether the whole task is wanted, and not just its result."""


class EndWatcher:
    """Turns the store's news of ended tasks into futures. Closing it cancels every wait."""

    def __init__(self, tasks: TaskStore, events: EventBus, *, topic: str) -> None:
        self._tasks = tasks
        self._events = events
        self._topic = topic
        self._waiting: dict[str, list[_Wait]] = {}
        self._watched: OrderedDict[str, End | None] = OrderedDict()
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def topic(self) -> str | None:
        """What to name as a new task's watcher; `None` as long as nobody here has waited for a task."""
        is_listening = self._listener is not None and not self._listener.done() and self._listening.is_set()
        return self._topic if is_listening else None

    def submitted(self, task_id: str) -> None:
        """A task was created that tells `topic` of its end: waiting for it needs no call to the store."""
        self._watched[task_id] = None
        if len(self._watched) > MAX_WATCHED:
            self._watched.popitem(last=False)

    async def aclose(self) -> None:
        """Stop listening; waits in progress are cancelled."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})
        for waits in list(self._waiting.values()):
            for wait in list(waits):
                wait.future.cancel()
        self._waiting.clear()

    async def expect(self, task_ids: Iterable[str], *, is_whole: bool) -> dict[str, asyncio.Future[End]]:
        """Return a future per task that yields its end once it has ended, with the task itself if `is_whole`.

        A task the store does not keep makes its future raise `NotFoundError`.
        """
        await self._listen()
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[End]] = {}
        unwatched: list[str] = []
        for task_id in dict.fromkeys(task_ids):
            futures[task_id] = future = loop.create_future()
            is_watched = task_id in self._watched
            end = self._watched.pop(task_id, None)
            if end is not None and not is_whole:
                future.set_result(end)
                continue
            if end is not None or not is_watched:
                unwatched.append(task_id)
            self._waiting.setdefault(task_id, []).append(_Wait(future, is_whole))
            future.add_done_callback(partial(self._forget, task_id))
        for start in range(0, len(unwatched), MAX_BATCH):
            batch = unwatched[start : start + MAX_BATCH]
            self._settle(batch, await self._tasks.watch(batch, topic=self._topic))
        return futures

    async def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listening.clear()
            self._watched.clear()
            self._listener = asyncio.create_task(self._follow(), name="meshd end watcher")
        if self._listening.is_set():
            return
        ready = asyncio.create_task(self._listening.wait())
        await asyncio.wait({ready, self._listener}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._listener

    async def _follow(self) -> None:
        async with self._events.subscribe(self._topic) as subscription:
            self._listening.set()
            while True:
                try:
                    await self._next(subscription)
                except UnavailableError:
                    await asyncio.sleep(0.2)

    async def _next(self, subscription: Subscription) -> None:
        """Take the hints that are there, or after silence read everything awaited, once."""
        hint = await subscription.get(timeout_ms=RECHECK_MS)
        if hint is None:
            await self._read(list(self._waiting))
            return
        untold: list[str] = []
        while hint is not None and len(untold) < MAX_BATCH:
            task_id = str(hint.body["task"])
            if not self._take(task_id, hint):
                untold.append(task_id)
            hint = await subscription.get(timeout_ms=0)
        await self._read([task_id for task_id in dict.fromkeys(untold) if task_id in self._waiting])

    def _take(self, task_id: str, hint: Hint) -> bool:
        """Take a hint that says all there is to know; return whether it did."""
        result = hint.body.get("result")
        if result is None:
            return False
        end = End(state=TaskState(hint.body["state"]), result=str(result).encode())
        if task_id in self._watched:
            self._watched[task_id] = end
        waits = self._waiting.get(task_id, ())
        for wait in list(waits):
            if not wait.is_whole and not wait.future.done():
                wait.future.set_result(end)
        return not any(wait.is_whole for wait in waits)

    async def _read(self, ids: list[str]) -> None:
        for start in range(0, len(ids), MAX_BATCH):
            batch = ids[start : start + MAX_BATCH]
            self._settle(batch, await self._tasks.get(batch))

    def _settle(self, ids: Iterable[str], tasks: Iterable[Task | None]) -> None:
        for task_id, task in zip(ids, tasks, strict=True):
            if task is not None and not task.state.is_terminal:
                continue
            for wait in list(self._waiting.get(task_id, ())):
                if wait.future.done():
                    continue
                if task is None:
                    wait.future.set_exception(NotFoundError(f"task {task_id} is not kept (any more)"))
                else:
                    wait.future.set_result(End(state=task.state, result=task.result, task=task))

    def _forget(self, task_id: str, future: asyncio.Future[End]) -> None:
        waits = [wait for wait in self._waiting.get(task_id, ()) if wait.future is not future]
        if waits:
            self._waiting[task_id] = waits
        else:
            self._waiting.pop(task_id, None)
