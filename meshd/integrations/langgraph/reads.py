"""What each task has read, so that its next write of the same key is a change of that."""

import asyncio
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from meshd.memory.entries import Entry

MOST_READS = 10_000
"""Keys one task is remembered to have read; the oldest is forgotten, and a write of it replaces what is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One key as a task knows it."""

    entry: Entry[Any] | None
    """`None`: it had no value."""
    base: Any
    """What the task's own copy was made of; `ABSENT` where there was nothing."""


@dataclass(slots=True, kw_only=True)
class _Book:
    """The reads of one task, or of one thread outside of tasks."""

    owner: tuple[int, int]
    reads: dict[str, Read] = field(default_factory=dict[str, Read])


class Reads:
    """The reads of every task that uses one store.

    A task that is started by another begins with none: what a copy of its context holds belongs to the other one.
    """

    def __init__(self) -> None:
        self._book: ContextVar[_Book | None] = ContextVar("meshd_langgraph_reads", default=None)

    def remember(self, key: str, read: Read) -> None:
        """Note what the running task knows of a key now."""
        book = self._own()
        if book is None:
            book = _Book(owner=_owner())
            self._book.set(book)
        book.reads.pop(key, None)
        book.reads[key] = read
        if len(book.reads) > MOST_READS:
            del book.reads[next(iter(book.reads))]

    def recall(self, key: str) -> Read | None:
        """Return what the running task knows of a key; `None` if it never read it."""
        book = self._own()
        return None if book is None else book.reads.get(key)

    def _own(self) -> _Book | None:
        book = self._book.get()
        return book if book is not None and book.owner == _owner() else None


def _owner() -> tuple[int, int]:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task)
