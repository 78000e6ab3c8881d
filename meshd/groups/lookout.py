"""Who waits in this process for announcements to change, and the one ear that listens for all of them.

Invariant: whoever waits learns of a change. Hints say so at once; as one may be lost, whoever waits also looks each
`LOOK_S`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import asynccontextmanager, suppress

from meshd.errors import UnavailableError
from meshd.events import EventBus, Hint
from meshd.groups.announcements import Announcements
from meshd.groups.ear import Ear
from meshd.groups.model import Announcement, AnnouncementState
from meshd.groups.wire import CHANGES, Envelope, place_of

LOOK_S = 10.0
"""Longest wait for a hint before looking anyway."""
LINGER_S = 1.0
"""How long the ear stays after the last who waits."""
MISSED = "missed"
MAX_HEARD = 1_024
"""Most news kept for one who waits; what is forgotten, the records say."""


class Watch:
    """One who waits for news of an announcement, or of all."""

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}
        """Announcements that have changed since this was last emptied."""
        self.heard = deque[Envelope](maxlen=MAX_HEARD)
        """What was said to their initiator."""
        self._states = set[str]()
        self._news = asyncio.Event()
        self._is_closed = False

    def told(self, announcement: str, state: str) -> None:
        """An announcement is in another state."""
        if len(self.changed) >= MAX_HEARD:
            self.changed.clear()
            self.missed()
        self.changed[announcement] = None
        self._states.add(state)
        self._news.set()

    def said(self, envelope: Envelope) -> None:
        """Something was said to an initiator."""
        self.heard.append(envelope)
        self.told(envelope.announcement, "")

    def missed(self) -> None:
        """Something may have been missed: look."""
        self._states.add(MISSED)
        self._news.set()

    def close(self) -> None:
        """There will be no more news: whoever waits is cancelled."""
        self._is_closed = True
        self._news.set()

    async def news(self, states: Collection[str] = (), *, timeout_s: float = LOOK_S) -> bool:
        """Wait for news, of these states if any are named; return whether there is, `False`: it is time to look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    await self._news.wait()
                    if self._is_closed:
                        raise asyncio.CancelledError("the mesh was closed")
                    self._news.clear()
                    heard, self._states = self._states, set[str]()
                    if not states or not heard.isdisjoint((MISSED, *states)):
                        return MISSED not in heard
        return False


class Lookout:
    """Waits for announcements. Closing it cancels every wait."""

    def __init__(self, announcements: Announcements, events: EventBus, *, initiator: str) -> None:
        """`initiator` is in whose name this process announces."""
        self._announcements = announcements
        self._events = events
        self._place = place_of(initiator)
        self._others: dict[str, int] = {}
        self._watches: dict[str, set[Watch]] = {}
        """By announcement; under no name those that watch all."""
        self._ear: Ear | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._closing = set[asyncio.Task[None]]()

    async def aclose(self) -> None:
        """Listen no more; waits in progress are cancelled."""
        for watch in self._all():
            watch.close()
        self._leave()
        await asyncio.gather(*self._closing)

    @asynccontextmanager
    async def watching(self, announcement: str = "", *, initiator: str = "") -> AsyncGenerator[Watch]:
        """Be told of an announcement, or of all, for the length of the block; `initiator`: and what is said to it."""
        watch, place = Watch(), place_of(initiator) if initiator else self._place
        self._watches.setdefault(announcement, set()).add(watch)
        self._others[place] = self._others.get(place, 0) + 1
        try:
            await self._listen()
            yield watch
        finally:
            self._watches[announcement].discard(watch)
            if not self._watches[announcement]:
                del self._watches[announcement]
            self._others[place] -= 1
            if not self._others[place]:
                del self._others[place]
            if not self._watches and self._ear is not None:
                self._leaving = asyncio.get_running_loop().call_later(LINGER_S, self._leave)

    async def until(self, announcement_id: str, states: Collection[AnnouncementState]) -> Announcement:
        """Return the announcement once it is in one of these states.

        Raises:
            NotFoundError: none of this id is kept (any more).
        """
        wanted = {state.value for state in states}
        async with self.watching(announcement_id) as watch:
            while True:
                with suppress(UnavailableError):
                    found = (await self._announcements.get(announcement_id)).announcement
                    if found.state in states:
                        return found
                await watch.news(wanted)

    async def _listen(self) -> None:
        """Return once everything that is to be heard is heard."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._ear is None:
            self._ear = Ear(self._events, self._hear, overhear=self._overhear, missed=self._missed)
            self._ear.start()
        self._ear.listen([CHANGES, *self._others])
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._ear.heard()

    def _leave(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            task = asyncio.create_task(ear.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _hear(self, envelope: Envelope) -> None:
        for watch in self._of(envelope.announcement):
            watch.said(envelope)

    def _overhear(self, hint: Hint) -> None:
        announcement = str(hint.body["a"])
        for watch in self._of(announcement):
            watch.told(announcement, str(hint.body["s"]))

    def _missed(self) -> None:
        for watch in self._all():
            watch.missed()

    def _of(self, announcement: str) -> Iterable[Watch]:
        return (*self._watches.get(announcement, ()), *self._watches.get("", ()))

    def _all(self) -> Iterable[Watch]:
        return [watch for watches in self._watches.values() for watch in watches]
