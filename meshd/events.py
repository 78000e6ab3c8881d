"""The event port: two kinds of news, never confused.

An **event** is an entry in a log: durable, ordered, read from a cursor. A log is trimmed at `LOG_CAPACITY` entries, and
a reader that missed some is told so. A **hint** is a message to whoever listens right now; it may be lost, so whoever
acts on hints also looks at the state now and then.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

LOG_CAPACITY = 100_000
"""A log keeps at least its newest entries up to this many, and not many more."""

START = "0"
"""Cursor before the first event of a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    log: str
    cursor: str
    """Opaque place in the log: pass it to `read` to continue after this event."""
    at_ms: int
    """Store time of the append."""
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    topic: str
    body: Mapping[str, Any]


class Subscription(Protocol):
    """An open ear for hints."""

    async def get(self, *, timeout_ms: int) -> Hint | None:
        """Return the next hint, or `None` after `timeout_ms`. After a reconnect, hints in between are lost.

        Raises:
            StoreUnreachableError: the store is gone; a later call tries again.
        """
        ...


class EventBus(Protocol):
    """Logs and hints of one mesh."""

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        """Append an event and return its cursor. Also publishes the body as a hint on the topic named like the log."""
        ...

    async def read(self, log: str, *, after: str = START, limit: int = 100) -> Sequence[Event]:
        """Return up to `limit` events after the cursor, oldest first; empty when there are none yet.

        Raises:
            LogTrimmedError: events between `after` and the oldest kept were trimmed. Never raised for `START`.
        """
        ...

    async def latest(self, log: str) -> str:
        """Return the cursor of the newest event, `START` for an empty log."""
        ...

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        """Tell current subscribers of `topic`, at most once each."""
        ...

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        """Open a subscription: every hint published after the block is entered is delivered, while connected."""
        ...
