"""Messages offered one by one to a loop that says it is done with one by asking for the next."""

import asyncio
from collections.abc import AsyncIterator

from meshd.messages.model import Message


class Offers(AsyncIterator[Message]):
    """Between an inbox, which hands over, and a loop, which takes."""

    def __init__(self) -> None:
        self._offered: asyncio.Queue[tuple[Message, asyncio.Future[None]]] = asyncio.Queue(maxsize=1)
        self._current: asyncio.Future[None] | None = None

    async def handle(self, message: Message) -> None:
        """Offer a message; return when the loop is done with it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._offered.put((message, done))
        await done

    def accept(self) -> None:
        """The loop is done with what it took last."""
        current, self._current = self._current, None
        if current is not None and not current.done():
            current.set_result(None)

    def __aiter__(self) -> "Offers":
        return self

    async def __anext__(self) -> Message:
        self.accept()
        while True:
            message, done = await self._offered.get()
            if not done.done():
                self._current = done
                return message
