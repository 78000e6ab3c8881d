"""The finisher: tells the store how tasks ended, in batches, until the store has confirmed each.

Flush at once when idle, coalesce while a flush is in flight: batch size is one under light load and grows by itself,
with no timer. While the store is away endings wait; their number is bounded by the node's capacity, since a slot is
free again only when its ending is confirmed.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random

from meshd.errors import UnavailableError
from meshd.runtime.outage import Outage
from meshd.tasks.model import Ending, Outcome
from meshd.tasks.store import MAX_BATCH, TaskStore

logger = logging.getLogger(__name__)


class Finisher:
    """Feed it endings; it calls `confirmed` for each with the store's answer."""

    def __init__(self, tasks: TaskStore, *, confirmed: Callable[[Ending, Outcome], None], rng: Random) -> None:
        self._tasks = tasks
        self._confirmed = confirmed
        self._rng = rng
        self._outage = Outage(logger, "reporting how tasks ended")
        self._endings: list[Ending] = []
        self._wake = asyncio.Event()
        self._closing = False

    def add(self, ending: Ending) -> None:
        self._endings.append(ending)
        self._wake.set()

    def close(self) -> None:
        """Let `run` return once everything added is confirmed."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._endings:
                await self.run_once()
            if self._closing:
                return

    async def run_once(self) -> None:
        """Send one batch; keep it for the next call when the store cannot be reached."""
        batch, self._endings = self._endings[:MAX_BATCH], self._endings[MAX_BATCH:]
        try:
            outcomes = await self._tasks.finish(batch)
        except UnavailableError as exc:
            self._outage.met(exc)
            self._endings = batch + self._endings
            await asyncio.sleep(self._rng.uniform(0.1, 0.5))
            return
        self._outage.over()
        for ending, outcome in zip(batch, outcomes, strict=True):
            if outcome not in (Outcome.OK, Outcome.ALREADY_DONE):
                logger.warning("the end of task %s did not count: %s", ending.hold.task_id, outcome)
            self._confirmed(ending, outcome)
