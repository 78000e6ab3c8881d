"""Replies that somebody here waits for."""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from meshd.messages.model import Message


class Replies:
    """Brings replies to those who wait for them, by the id of what they answer."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Queue[Message]] = {}

    def take(self, message: Message) -> bool:
        """Return whether somebody waits for this reply; it is theirs then."""
        queue = self._waiting.get(message.reply_to)
        if queue is None:
            return False
        queue.put_nowait(message)
        return True

    @contextmanager
    def expected(self, ids: Iterable[str]) -> "Generator[asyncio.Queue[Message]]":
        """Yield where replies to any of these messages come in while the block runs."""
        queue: asyncio.Queue[Message] = asyncio.Queue()
        mine = tuple(ids)
        self._waiting |= dict.fromkeys(mine, queue)
        try:
            yield queue
        finally:
            for id in mine:
                del self._waiting[id]
