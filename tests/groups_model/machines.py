"""Simulated processes: real services that share one event loop, each with its own way to the store, and mortal.

A killed process makes no further step: whatever its tasks still try to do at the store does not happen.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import Context, ContextVar, copy_context
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from meshd.errors import StoreUnreachableError
from meshd.events import START, Event, Hint, Subscription
from meshd.records import Guard, Record, Room
from tests.groups_model.weather import Weather
from tests.support.memory_store import MemoryStore, MemorySubscription

T = TypeVar("T")

_running: ContextVar["Process | None"] = ContextVar("process", default=None)


class Process:
    """One life of a process."""

    def __init__(self, name: str, *, store: MemoryStore, weather: Weather, rng: Random) -> None:
        self.name = name
        self.is_dead = False
        self.rng = rng
        self.on_say: Callable[[Mapping[str, Any], bool], None] = lambda body, is_said: None
        """Called with each hint it says, before and after that."""
        self.on_write: Callable[[str, bool], None] = lambda key, is_written: None
        """Called with the key of each record it writes, before and after that."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.subscriptions: dict[MemorySubscription, None] = {}
        self._awake = asyncio.Event()
        self._awake.set()
        self._store = store
        self._weather = weather
        self._context = copy_context()
        self._context.run(_running.set, self)
        self.records = _Records(self, store)
        self.events = _Events(self, store)

    def run(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run it here, with all the tasks it starts."""
        return asyncio.get_running_loop().create_task(work, context=self._context)

    def kill(self) -> None:
        """End at once. May be called from within."""
        if self.is_dead:
            return
        self.is_dead = True
        self._awake.set()
        for task in list(self.tasks):
            task.cancel()

    def stall(self, seconds: float) -> None:
        """Stand still for a while, as a stopped process does, while it storms."""
        if not self._weather.is_calm:
            self._awake.clear()
            asyncio.get_running_loop().call_later(seconds, self._awake.set)

    def wake(self) -> None:
        self._awake.set()

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]], *, writes: str = "") -> T:
        """Make one call to the store, which writes this record.

        Raises:
            StoreUnreachableError: request or answer were lost; the caller cannot know which.
            CancelledError: the process is dead.
        """
        await self._travel()
        if self._weather.loses_request(self.name):
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            raise StoreUnreachableError("the request was lost")
        self.on_write(writes, False)
        if self.is_dead:
            raise asyncio.CancelledError
        result = await work()
        self.on_write(writes, True)
        await self._travel()
        if self._weather.loses_answer(self.name):
            raise StoreUnreachableError("the answer was lost")
        return result

    async def _travel(self) -> None:
        if not self.is_dead:
            await asyncio.sleep(self.rng.uniform(0, self._weather.latency_s))
            await self._awake.wait()
        if self.is_dead:
            raise asyncio.CancelledError

    @asynccontextmanager
    async def listening(self, topics: Sequence[str]) -> AsyncGenerator[Subscription]:
        await self.call(_nothing)
        async with self._store.events.subscribed(topics) as subscription:
            self.subscriptions[subscription] = None
            try:
                yield _Ears(self, subscription)
            finally:
                self.subscriptions.pop(subscription, None)

    async def awake(self) -> None:
        """Return once it does not stand still."""
        await self._awake.wait()


class _Ears:
    def __init__(self, process: Process, subscription: MemorySubscription) -> None:
        self._process = process
        self._subscription = subscription

    async def get(self, *, timeout_ms: int) -> Hint | None:
        hint = await self._subscription.get(timeout_ms=timeout_ms)
        await self._process.awake()
        if self._process.is_dead:
            raise asyncio.CancelledError
        return hint


class _Records:
    """A process's way to the records."""

    def __init__(self, process: Process, store: MemoryStore) -> None:
        self._call = process.call
        self._records = store.records

    async def get(self, key: str) -> Record | None:
        return await self._call(lambda: self._records.get(key))

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None, guard: Guard | None = None) -> int:
        return await self._call(lambda: self._records.put(key, value, ttl_ms=ttl_ms, guard=guard), writes=key)

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        guard: Guard | None = None,
        room: Room | None = None,
    ) -> int:
        return await self._call(
            lambda: self._records.create(key, value, ttl_ms=ttl_ms, guard=guard, room=room), writes=key
        )

    async def update(
        self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None, guard: Guard | None = None
    ) -> int:
        return await self._call(
            lambda: self._records.update(key, value, revision=revision, ttl_ms=ttl_ms, guard=guard), writes=key
        )

    async def delete(self, key: str, *, revision: int | None = None, guard: Guard | None = None) -> bool:
        return await self._call(lambda: self._records.delete(key, revision=revision, guard=guard), writes=key)

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        return await self._call(lambda: self._records.list(prefix, limit=limit, after=after))

    async def count(self, prefix: str) -> int:
        return await self._call(lambda: self._records.count(prefix))


class _Events:
    """A process's way to logs and hints."""

    def __init__(self, process: Process, store: MemoryStore) -> None:
        self._process = process
        self._events = store.events

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        return await self._process.call(lambda: self._events.append(log, body))

    async def read(self, log: str, *, after: str = START, limit: int = 100) -> Sequence[Event]:
        return await self._process.call(lambda: self._events.read(log, after=after, limit=limit))

    async def latest(self, log: str) -> str:
        return await self._process.call(lambda: self._events.latest(log))

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        await self._process.call(lambda: self._said(topic, body))

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._process.listening(topics)

    async def _said(self, topic: str, body: Mapping[str, Any]) -> None:
        self._process.on_say(body, False)
        if self._process.is_dead:
            raise asyncio.CancelledError
        await self._events.publish(topic, body)
        self._process.on_say(body, True)


@contextmanager
def on_loop_time(rng: Random) -> Generator[None]:
    """Let the groups read the time of the running loop, whose tasks are each the process's that started them.

    Where they draw lots of their own, these follow from `rng`.
    """
    loop = asyncio.get_running_loop()
    loop.set_task_factory(cast("Any", _task))
    steered = {"time": (time, SimpleNamespace(monotonic=loop.time)), "Random": (Random, lambda: Random(rng.random()))}
    found = [
        (module, name, *steered[name])
        for module_name, module in list(sys.modules.items())
        for name in steered
        if module_name.startswith("meshd.groups.") and getattr(module, name, None) is steered[name][0]
    ]
    for module, name, _, new in found:
        setattr(module, name, new)
    try:
        yield
    finally:
        for module, name, old, _ in found:
            setattr(module, name, old)


def _task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], context: Context | None = None, **named: Any
) -> "asyncio.Task[T]":
    task = asyncio.Task(work, loop=loop, context=context, **named)
    process = _running.get() if context is None else context.get(_running)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None))
        if process.is_dead:
            task.cancel()
    return task


async def _nothing() -> None:
    return
