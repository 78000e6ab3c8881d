"""Messages for code without an event loop: `messages` of a `SyncMesh`. A facade, with no logic of its own."""

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager

from meshd.messages.model import Message
from meshd.messages.service import Messages
from meshd.sync_memory import Portal


class SyncMessages:
    """What agents say to each other; see `Messages`."""

    def __init__(self, portal: Portal, messages: Messages) -> None:
        self._portal = portal
        self._messages = messages
        self.sender = messages.sender
        self.send = portal.wrap(messages.send)
        self.request = portal.wrap(messages.request)
        self.query = portal.wrap(messages.query)
        self.reply = portal.wrap(messages.reply)
        self.refuse = portal.wrap(messages.refuse)
        self.waiting = portal.wrap(messages.waiting)
        self.unhandled = portal.wrap(messages.unhandled)
        self.forget = portal.wrap(messages.forget)

    @contextmanager
    def listen(self, *addressees: str) -> Generator[Iterator[Message]]:
        """Yield what comes for these, one at a time, while the block runs; see `Messages.listen`."""
        listening = self._messages.listen(*addressees)
        offers = self._portal.call(listening.__aenter__())
        try:
            yield self._each(offers)
        except BaseException as exc:
            self._portal.call(listening.__aexit__(type(exc), exc, exc.__traceback__))
            raise
        self._portal.call(listening.__aexit__(None, None, None))

    def _each(self, offers: AsyncIterator[Message]) -> Iterator[Message]:
        while True:
            yield self._portal.call(_next(offers))


async def _next(offers: AsyncIterator[Message]) -> Message:
    return await anext(offers)
