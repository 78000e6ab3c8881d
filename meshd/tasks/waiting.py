"""Waiting for tasks to end without polling.

Invariant: whoever waits learns of the end. The store tells our topic; as a hint may be lost (a reconnect, a restart of
the store), every task still awaited is also read again each `RECHECK_MS`.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from meshd.errors import NotFoundError, UnavailableError
from meshd.events import EventBus, Subscription
from meshd.tasks.model import Task
from meshd.tasks.store import MAX_BATCH, TaskStore

RECHECK_MS = 5_000


class EndWatcher:
    """Turns the store's news of ended tasks into futures. Start it before use; closing it cancels every wait."""

    def __init__(self, tasks: TaskStore, events: EventBus, *, topic: str) -> None:
        self._tasks = tasks
        self._events = events
        self._topic = topic
        self._waiting: dict[str, list[asyncio.Future[Task]]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def aclose(self) -> None:
        """Stop listening; waits in progress are cancelled."""
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()
        self._waiting.clear()

    async def expect(self, task_ids: Iterable[str]) -> dict[str, asyncio.Future[Task]]:
        """Return a future per task that yields it once it has ended.

        A task the store does not keep makes its future raise `NotFoundError`.
        """
        await self._listen()
        ids = list(dict.fromkeys(task_ids))
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[Task]] = {}
        for task_id in ids:
            futures[task_id] = loop.create_future()
            self._waiting.setdefault(task_id, []).append(futures[task_id])
            futures[task_id].add_done_callback(partial(self._forget, task_id))
        for start in range(0, len(ids), MAX_BATCH):
            batch = ids[start : start + MAX_BATCH]
            self._settle(batch, await self._tasks.watch(batch, topic=self._topic))
        return futures

    async def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listening.clear()
            self._listener = asyncio.create_task(self._follow(), name="meshd end watcher")
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
        """Take the hints that are there, or after silence everything awaited, and read those tasks once."""
        hint = await subscription.get(timeout_ms=RECHECK_MS)
        if hint is None:
            await self._read(list(self._waiting))
            return
        ended: list[str] = []
        while hint is not None and len(ended) < MAX_BATCH:
            ended.append(str(hint.body["task"]))
            hint = await subscription.get(timeout_ms=0)
        await self._read([task_id for task_id in dict.fromkeys(ended) if task_id in self._waiting])

    async def _read(self, ids: list[str]) -> None:
        for start in range(0, len(ids), MAX_BATCH):
            batch = ids[start : start + MAX_BATCH]
            self._settle(batch, await self._tasks.get(batch))

    def _settle(self, ids: Iterable[str], tasks: Iterable[Task | None]) -> None:
        for task_id, task in zip(ids, tasks, strict=True):
            if task is not None and not task.state.is_terminal:
                continue
            for future in list(self._waiting.get(task_id, ())):
                if future.done():
                    continue
                if task is None:
                    future.set_exception(NotFoundError(f"task {task_id} is not kept (any more)"))
                else:
                    future.set_result(task)

    def _forget(self, task_id: str, future: asyncio.Future[Task]) -> None:
        futures = self._waiting.get(task_id)
        if futures is None:
            return
        with suppress(ValueError):
            futures.remove(future)
        if not futures:
            del self._waiting[task_id]
