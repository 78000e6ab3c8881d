"""Hints for a changing set of addressees: who may have got something, and so is worth a look."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from random import Random
from typing import Any

from meshd.errors import UnavailableError
from meshd.events import EventBus, Hint, Subscription
from meshd.messages.places import inbox_topic

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 20.0
"""How often each addressee is worth a look whatever was heard, …"""
LOOK_PAUSE_S = 2.0
"""… but all of them together not more often than this."""
MAX_BACKOFF_S = 5.0


class Ear:
    """Calls `wake` for an addressee when something may have come; for all after hints may have been missed."""

    def __init__(
        self,
        events: EventBus,
        *,
        wake: Callable[[str], None],
        told: Callable[[str, Mapping[str, Any]], bool],
        rng: Random,
    ) -> None:
        """`told` is asked about each hint that says more: whether nobody need look."""
        self._events = events
        self._wake = wake
        self._told = told
        self._rng = rng
        self._wanted: frozenset[str] = frozenset()
        self._subscribed: frozenset[str] = frozenset()
        self._turn: deque[str] = deque()
        self._changed = asyncio.Event()
        self._hearing = asyncio.Event()

    def hear(self, addressees: Iterable[str]) -> None:
        """Listen for exactly these from now on."""
        self._wanted = frozenset(addressees)
        self._turn = deque(sorted(self._wanted))
        if self._wanted != self._subscribed:
            self._hearing.clear()
            self._changed.set()

    async def heard(self) -> None:
        """Return once every hint about the addressees is heard."""
        await self._hearing.wait()

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = 0.1
        while True:
            self._changed.clear()
            wanted = self._wanted
            if not wanted:
                await self._changed.wait()
                continue
            try:
                async with self._events.subscribe(*(inbox_topic(to) for to in sorted(wanted))) as subscription:
                    self._subscribed, pause = wanted, 0.1
                    if not self._changed.is_set():
                        self._hearing.set()
                    for to in wanted:
                        self._wake(to)
                    await self._follow(subscription, wanted)
            except UnavailableError as exc:
                logger.debug("not listening for messages for now: %s", exc)
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
                pause = min(pause * 2, MAX_BACKOFF_S)

    async def _follow(self, subscription: Subscription, wanted: frozenset[str]) -> None:
        """Listen until there are other addressees."""
        topics = {inbox_topic(to): to for to in wanted}
        timeout_ms = round(max(LOOK_PAUSE_S, LOOK_EVERY_S / len(topics)) * 1000)
        changed = asyncio.create_task(self._changed.wait())
        getting: asyncio.Task[Hint | None] | None = None
        try:
            while not changed.done():
                getting = asyncio.create_task(_next(subscription, timeout_ms))
                await asyncio.wait({getting, changed}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    break
                hint = getting.result()
                if hint is None:
                    self._turn.rotate(-1)
                    self._wake(self._turn[0])
                while hint is not None:
                    to = topics[hint.topic]
                    if not hint.body or not self._told(to, hint.body):
                        self._wake(to)
                    hint = await subscription.get(timeout_ms=0)
        finally:
            for task in (getting, changed):
                if task is not None and not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, UnavailableError):
                        await task


async def _next(subscription: Subscription, timeout_ms: int) -> Hint | None:
    return await subscription.get(timeout_ms=timeout_ms)
