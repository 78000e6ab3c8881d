"""Following keys: as a stream of entries, or by a function that is called with each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self

from meshd.memory.entries import Entry

Callback = Callable[["Change"], Awaitable[None] | None]


class Change:
    """A key after it changed."""

    __slots__ = ("entry", "key")

    def __init__(self, key: str, entry: Entry[Any] | None) -> None:
        self.key = key
        self.entry = entry

    @property
    def value(self) -> Any:
        return None if self.entry is None else self.entry.value

    @property
    def is_deletion(self) -> bool:
        """Whether the key is gone: deleted, or expired."""
        return self.entry is None

    def __repr__(self) -> str:
        return f"Change({self.key!r}, {'gone' if self.entry is None else repr(self.value)})"


class Subscription:
    """A function that is called with each change until this is closed, one change at a time, in order.

    An error of the function, or of the watching, ends it: `wait` and closing raise it.
    """

    def __init__(self, changes: AsyncIterator[Change], callback: Callback) -> None:
        self._task = asyncio.create_task(_call(changes, callback))

    async def wait(self) -> None:
        """Return when the subscription has ended, with its error if it had one."""
        await asyncio.shield(self._task)

    async def aclose(self) -> None:
        """End it. Idempotent."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def _call(changes: AsyncIterator[Change], callback: Callback) -> None:
    async for change in changes:
        answer = callback(change)
        if isawaitable(answer):
            await answer
