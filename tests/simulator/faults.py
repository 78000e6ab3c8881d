"""What may go wrong in a simulated mesh, drawn from the seed."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from meshd.errors import StoreUnreachableError

T = TypeVar("T")


class Weather:
    """How the way to the store is at the moment; clears up for good at the end of a run's stormy part."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._loss = rng.choice([0.0, 0.02, 0.1, 0.3])
        self._latency_s = rng.choice([0.001, 0.01, 0.2])
        self._store_back = asyncio.Event()
        self._store_back.set()

    def clear_up(self) -> None:
        self._loss = 0.0
        self._latency_s = 0.001
        self._store_back.set()

    async def store_outage(self, seconds: float) -> None:
        """The store answers nobody for a while, and forgets nothing."""
        self._store_back.clear()
        await asyncio.sleep(seconds)
        self._store_back.set()

    async def carry(self, call: Callable[[], T], *, stalled: Callable[[], Awaitable[None]]) -> T:
        """Make one call: late, perhaps never sent, perhaps without its answer.

        Raises:
            StoreUnreachableError: request or answer were lost; the caller cannot know which.
        """
        await asyncio.sleep(self._rng.uniform(0, self._latency_s))
        await stalled()
        if not self._store_back.is_set() or self._rng.random() < self._loss:
            await asyncio.sleep(self._rng.uniform(0, 1))
            raise StoreUnreachableError("the request was lost")
        result = call()
        await asyncio.sleep(self._rng.uniform(0, self._latency_s))
        await stalled()
        if self._rng.random() < self._loss:
            raise StoreUnreachableError("the answer was lost")
        return result
