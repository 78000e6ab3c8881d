"""What was read and written so far, as a token: whoever passes it on sees no older state, on whatever node."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from meshd.errors import StaleReadError
from meshd.memory.access import Session
from meshd.memory.model import LOCAL, NodeClock, Version


class Seen:
    """Per actor, the newest write that arrived here."""

    def __init__(self) -> None:
        self.clock: dict[str, int] = {}

    def add(self, versions: Iterable[Version]) -> None:
        """Note versions that were taken."""
        clock = self.clock
        for version in versions:
            header = version.header
            if header.seq > clock.get(header.actor, 0) and header.actor != LOCAL:
                clock[header.actor] = header.seq

    def cover(self, clock: NodeClock) -> None:
        """Note that everything of this clock was received."""
        for actor, seq in clock.items():
            if seq > self.clock.get(actor, 0) and actor != LOCAL:
                self.clock[actor] = seq

    def covers(self, session: Session) -> bool:
        """Return whether everything the holder of the session saw is here, or was superseded by what is."""
        known = self.clock.get
        for actor, seq in session.items():  # noqa: SIM110 -- a generator costs more than all of a read from memory
            if known(actor, 0) < seq:
                return False
        return True

    async def wait_for(self, session: Session, *, timeout: timedelta, look: Callable[[], Awaitable[None]]) -> None:
        """Return once `covers` is true; `look` is called again and again, and returns when more may have arrived.

        Raises:
            StaleReadError: it has not become true in time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout.total_seconds()
        while not self.covers(session):
            left = end - loop.time()
            if left <= 0:
                raise StaleReadError("what the session has seen has not arrived here; read again later")
            try:
                async with asyncio.timeout(left):
                    await look()
            except TimeoutError:
                continue
