"""Listening: envelopes and other hints of a changing set of topics, over a store that may go and come back.

Guarantee: once `heard` returns, everything said to the topics is handed over while the store stays; a change of topics
loses nothing, since the new subscription stands before the old one goes. After a gap `missed` is called.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from random import Random

from meshd.errors import CorruptDataError, MeshError, UnavailableError
from meshd.events import EventBus, Hint
from meshd.groups.wire import Envelope, Hear, opened

logger = logging.getLogger(__name__)

QUIET_MS = 5_000
"""Longest wait for one hint; a connection that broke unheard is noticed by then."""
LONGEST_PAUSE_S = 5.0
LINGER_S = 0.25
"""How long the subscription before a change is still heard, for what was on its way; some comes twice then."""
MOST_AT_ONCE = 512
"""Hints handed over whose handlers have not come back; with so many the ear waits."""


def _ignored(_hint: Hint) -> None:
    return


class Ear:
    """Hands each envelope to `hear` in the order in which they came; what takes time goes on in a task of its own."""

    def __init__(
        self,
        events: EventBus,
        hear: Hear,
        *,
        overhear: Callable[[Hint], Awaitable[None] | None] = _ignored,
        missed: Callable[[], None] = lambda: None,
        rng: Random | None = None,
    ) -> None:
        """`overhear` gets hints that are no envelopes; `missed` is called when some may have been lost."""
        self._events = events
        self._hear = hear
        self._overhear = overhear
        self._missed = missed
        self._rng = rng or Random()
        self._wanted: frozenset[str] = frozenset()
        self._standing = asyncio.Event()
        self._changed = asyncio.Event()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._handling = set[asyncio.Task[None]]()
        self._followers = set[asyncio.Task[None]]()
        self._running: asyncio.Task[None] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether there is any topic to hear."""
        return bool(self._wanted)

    def start(self) -> None:
        """Listen, until `aclose`."""
        self._running = asyncio.create_task(self._run(), name="meshd ear")

    def listen(self, topics: Iterable[str]) -> None:
        """Hear exactly these topics from now on."""
        wanted = frozenset(topics)
        if wanted != self._wanted:
            self._wanted = wanted
            self._standing.clear()
            self._changed.set()

    async def heard(self) -> None:
        """Return once every topic is heard."""
        await self._standing.wait()

    async def aclose(self) -> None:
        """Hear nothing more, and let go of what is being handled; nobody waits to hear any more."""
        self._wanted = frozenset()
        self._standing.set()
        tasks = [*self._handling, *self._followers, *([] if self._running is None else [self._running])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        current: asyncio.Task[None] | None = None
        changed: asyncio.Task[bool] | None = None
        try:
            while True:
                self._changed.clear()
                stands = asyncio.Event()
                following = asyncio.create_task(self._follow(self._wanted, stands), name="meshd ear follows")
                self._followers.add(following)
                following.add_done_callback(self._followers.discard)
                changed = asyncio.create_task(self._changed.wait())
                await _first(asyncio.create_task(stands.wait()), changed)
                if not stands.is_set():
                    following.cancel()
                    continue
                if current is not None:
                    asyncio.get_running_loop().call_later(LINGER_S, current.cancel)
                current = following
                if not self._changed.is_set():
                    self._standing.set()
                await changed
        finally:
            for task in (*self._followers, *([] if changed is None else [changed])):
                task.cancel()

    async def _follow(self, topics: frozenset[str], stands: asyncio.Event) -> None:
        pause_s = 0.1
        while topics:
            try:
                async with self._events.subscribe(*sorted(topics)) as subscription:
                    stands.set()
                    pause_s = 0.1
                    self._missed()
                    while True:
                        hint = await subscription.get(timeout_ms=QUIET_MS)
                        if hint is not None and hint.topic in self._wanted:
                            await self._hand_over(hint)
            except UnavailableError as exc:
                logger.debug("not listening for groups for now: %s", exc)
            except CorruptDataError as exc:
                logger.warning("%s; it is left out", exc)
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        stands.set()

    async def _hand_over(self, hint: Hint) -> None:
        handling = self._handle(hint)
        if handling is None:
            return
        await self._room.acquire()
        task = asyncio.create_task(self._handled_by(handling, hint))
        self._handling.add(task)
        task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        self._room.release()

    def _handle(self, hint: Hint) -> Awaitable[None] | None:
        """Hand it over; return what is to be awaited, if anything."""
        try:
            envelope = _envelope(hint)
            return self._overhear(hint) if envelope is None else self._hear(envelope)
        except Exception:
            logger.exception("%s: not acted on: %r", hint.topic, hint.body)
            return None

    async def _handled_by(self, handling: Awaitable[None], hint: Hint) -> None:
        try:
            await handling
        except UnavailableError as exc:
            logger.debug("%s: not acted on, to be found by the next look: %s", hint.topic, exc)
        except MeshError as exc:
            logger.warning("%s: not acted on: %s", hint.topic, exc)
        except Exception:
            logger.exception("%s: not acted on: %r", hint.topic, hint.body)


def _envelope(hint: Hint) -> Envelope | None:
    return opened(hint) if "t" in hint.body else None


async def _first(*tasks: asyncio.Task[bool]) -> None:
    """Wait for the first of them; the first task named is given up if it is not that."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        tasks[0].cancel()
