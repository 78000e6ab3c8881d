"""A process that stops itself at an exact message: a bus that raises a signal when it sends or hears one of a kind.

Only for processes of tests: it is put around the store that such a process opens, nothing of meshd knows of it.
"""

import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meshd.backends import Backend, BackendOptions, bootstrap, open_backend
from meshd.backends.port import BackendHealth
from meshd.events import Event, EventBus, Hint, Subscription
from meshd.runtime import pulse


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Where a process stops: at the `nth` envelope of a type, or at news of a state, sent or heard, whichever is first.

    What is to be sent is not sent, what is heard is not acted on.
    """

    at: str
    """A type of message, or a state of an announcement."""
    nth: int = 1
    signal: str = "SIGKILL"
    announcement: str = ""
    """Only those about this one."""


class Trapped:
    """All ports of a backend, with a trap on its bus. Implements `meshd.backends.port.Backend`."""

    def __init__(self, backend: Backend, trap: Trap) -> None:
        self._backend = backend
        self.nodes = backend.nodes
        self.tasks = backend.tasks
        self.memory = backend.memory
        self.records = backend.records
        self.events = TrappedEvents(backend.events, trap)

    async def health(self) -> BackendHealth:
        return await self._backend.health()

    async def aclose(self) -> None:
        await self._backend.aclose()


class TrappedEvents:
    """Implements `meshd.events.EventBus`."""

    def __init__(self, events: EventBus, trap: Trap) -> None:
        self._events = events
        self._trap = trap
        self._passed = 0

    def meet(self, body: Mapping[str, Any]) -> None:
        """Stop this process if that is what the trap is for."""
        concerns = self._trap.announcement in ("", body.get("a"))
        if concerns and self._trap.at in (body.get("t"), body.get("s")):
            self._passed += 1
            if self._passed == self._trap.nth:
                os.kill(os.getpid(), signal.Signals[self._trap.signal])

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        return await self._events.append(log, body)

    async def read(self, log: str, *, after: str = "0", limit: int = 100) -> Sequence[Event]:
        return await self._events.read(log, after=after, limit=limit)

    async def latest(self, log: str) -> str:
        return await self._events.latest(log)

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        self.meet(body)
        await self._events.publish(topic, body)

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._subscribed(topics)

    @asynccontextmanager
    async def _subscribed(self, topics: Sequence[str]) -> AsyncGenerator[Subscription]:
        async with self._events.subscribe(*topics) as subscription:
            yield TrappedSubscription(subscription, self)


class TrappedSubscription:
    """Implements `meshd.events.Subscription`."""

    def __init__(self, subscription: Subscription, events: TrappedEvents) -> None:
        self._subscription = subscription
        self._events = events

    async def get(self, *, timeout_ms: int) -> Hint | None:
        hint = await self._subscription.get(timeout_ms=timeout_ms)
        if hint is not None:
            self._events.meet(hint.body)
        return hint


def opening(trap: Trap | None, clock: str) -> Callable[..., Awaitable[Backend]]:
    """Return what opens a store with a trap on its bus and, if a file is named, the time of that file."""

    async def open_store(url: str, options: BackendOptions | None = None) -> Backend:
        wanted = options or BackendOptions()
        if clock:
            wanted = replace(wanted, clock=SharedClock(Path(clock)))
        backend = await open_backend(url, wanted)
        return backend if trap is None else Trapped(backend, trap)

    return open_store


def lay(trap: Trap | None, clock: str) -> None:
    """Have every store that this process opens from now on opened so."""
    if trap is not None or clock:
        setattr(bootstrap, "open_backend", opening(trap, clock))  # noqa: B010 -- it is imported there, not made there
    if clock:
        setattr(pulse, "open_backend", opening(None, clock))  # noqa: B010


class SharedClock:
    """The time of a store that several processes use, as far ahead of the true time as a file says, in ms."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + int(self._file.read_text() or 0)

    def jump(self, ms: int) -> None:
        """Be so far ahead from now on, at once for everybody."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ms))
        new.replace(self._file)
