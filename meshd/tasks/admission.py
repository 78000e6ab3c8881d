"""Admission: how a full queue meets a submit. It is refused or waited for; nothing is ever dropped."""

import asyncio
from collections.abc import Sequence
from random import Random
from time import monotonic

from meshd.errors import BackpressureError
from meshd.tasks.model import Durability, NewTask, Receipt
from meshd.tasks.store import TaskStore

FIRST_PAUSE_S = 0.02
MAX_PAUSE_S = 0.5


class Admission:
    """Submits batches, waiting up to `patience_s` for room; 0 refuses at once."""

    def __init__(self, store: TaskStore, *, patience_s: float, rng: Random | None = None) -> None:
        self._store = store
        self._patience_s = patience_s
        self._rng = rng or Random()

    async def submit(self, tasks: Sequence[NewTask], *, durability: Durability | None = None) -> Sequence[Receipt]:
        """Submit one batch as the store does, all or none.

        Raises:
            BackpressureError: there was no room within the patience; none was created.
        """
        give_up = monotonic() + self._patience_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await self._store.submit(tasks, durability=durability)
            except BackpressureError:
                delay = pause * self._rng.uniform(0.5, 1.0)
                if monotonic() + delay >= give_up:
                    raise
            await asyncio.sleep(delay)
            pause = min(pause * 2, MAX_PAUSE_S)
