"""Uses of edges, added up where messages are sent and told to the mesh at most once a second.

Counting never waits and never fails: what cannot be told now is told later, and what is over the limit is counted as
dropped. A telling whose answer was lost is told again, so a use may count twice; it is never silently left out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from meshd.errors import UnavailableError
from meshd.events import EventBus
from meshd.topology.model import TOPOLOGY_LOG, Use
from meshd.topology.recorded import use_body

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MOST_PAIRS = 10_000
"""Most pairs of agents whose uses are held until they can be told."""
USES_PER_EVENT = 500
LONGEST_PAUSE_SECONDS = 30.0
ENDING_SECONDS = 2.0
"""Longest `aclose` waits for the store."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Sum:
    count: int = 0
    quality: float = 0.0


class Usage:
    """What one process sent, by sender and addressee."""

    def __init__(self, events: EventBus, *, by: str, rng: Random | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._events = events
        self._by = by
        self._rng = rng or Random()
        self._sleep = sleep
        self._sums: dict[tuple[str, str, bool], _Sum] = {}
        self._something = asyncio.Event()
        self.dropped = 0
        """Uses not counted because too many pairs were waiting to be told."""

    def used(self, source: str, target: str, *, count: int = 1, quality: float = 1.0) -> None:
        """Count a use; quality 0 is a failure. Never blocks. For the event loop's own thread."""
        if source == target or count < 1:
            return
        key = (source, target, quality > 0)
        held = self._sums.get(key)
        if held is None:
            if len(self._sums) >= MOST_PAIRS:
                self.dropped += count
                return
            held = self._sums[key] = _Sum()
        held.count += count
        held.quality += count * min(1.0, max(0.0, quality))
        self._something.set()

    async def run(self) -> None:
        """Tell of uses once a second, for as long as this runs; while there are none the store is left alone."""
        failures = 0
        while True:
            await self._something.wait()
            await self._sleep(FLUSH_SECONDS if not failures else self._pause(failures))
            try:
                await self.flush()
                failures = 0
            except UnavailableError as exc:
                failures += 1
                if failures == 1:
                    logger.warning("uses of edges are told later: %s", exc)

    async def flush(self) -> int:
        """Tell of everything counted so far; return how many uses that was.

        Raises:
            UnavailableError: the store did not take it; what it did not take is still held.
        """
        told = 0
        while self._sums:
            keys = list(self._sums)[:USES_PER_EVENT]
            taken = {key: self._sums.pop(key) for key in keys}
            uses = [
                Use(source=source, target=target, count=held.count, quality=held.quality / held.count)
                for (source, target, _), held in taken.items()
            ]
            try:
                await self._events.append(TOPOLOGY_LOG, use_body(self._by, uses))
            except BaseException:
                self._put_back(taken)
                raise
            told += sum(use.count for use in uses)
        self._something.clear()
        return told

    async def aclose(self) -> None:
        """Tell of what is left, if the store takes it within two seconds."""
        try:
            async with asyncio.timeout(ENDING_SECONDS):
                await self.flush()
        except (UnavailableError, TimeoutError) as exc:
            lost = sum(held.count for held in self._sums.values())
            logger.warning("%d uses of edges were never told: %s", lost, exc or "the store did not answer")

    def _put_back(self, taken: dict[tuple[str, str, bool], _Sum]) -> None:
        for key, held in taken.items():
            new = self._sums.setdefault(key, _Sum())
            new.count += held.count
            new.quality += held.quality
        self._something.set()

    def _pause(self, failures: int) -> float:
        longest = min(LONGEST_PAUSE_SECONDS, FLUSH_SECONDS * 2.0**failures)
        return self._rng.uniform(FLUSH_SECONDS, longest)
