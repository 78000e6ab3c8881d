"""The nemesis: a seeded plan of kills, carried out by process id, each when a share of the work is done.

Tied to progress and not to time, every kill finds work in flight on a fast machine and on a slow one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tests.chaos.fleet import Fleet
from tests.chaos.history import Kill

FIRST, LAST = 0.03, 0.95
"""Share of the work done before the first and the last kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One kill."""

    after: float
    """Share of the tasks completed before it, 0 to 1."""
    at_store: bool
    down_s: float
    """How long the victim stays down."""
    pick: int
    """Chooses the victim among those at work."""


class KillsStore(Protocol):
    """How the store's server is killed and started again."""

    async def kill(self) -> Kill: ...

    async def restart(self) -> None: ...


def plan_strikes(rng: Random, *, kills: int, store_kills: int) -> Sequence[Strike]:
    """Return the kills of a run, in order: spread over the whole run, each at a random place in its share."""
    total = kills + store_kills
    at_store = set(rng.sample(range(total), store_kills))
    return [
        Strike(
            after=FIRST + (LAST - FIRST) * (number + rng.uniform(0, 0.9)) / total,
            at_store=number in at_store,
            down_s=rng.uniform(0.05, 1.0),
            pick=rng.randrange(1_000),
        )
        for number in range(total)
    ]


class Nemesis:
    """Carries out a plan; `kills` grows as it goes."""

    def __init__(self, fleet: Fleet, store: KillsStore | None) -> None:
        self._fleet = fleet
        self._store = store
        self.kills: list[Kill] = []

    async def run(self, strikes: Sequence[Strike], *, reached: Callable[[float], Awaitable[None]]) -> None:
        """Return when every strike was made and every victim is up again; `reached` waits for a share of the work."""
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                await reached(strike.after)
                if strike.at_store:
                    await self._strike_store(strike)
                else:
                    name = await self._strike_node(strike)
                    group.create_task(self._start_later(name, strike.down_s))

    async def _strike_node(self, strike: Strike) -> str:
        while not (candidates := self._fleet.at_work()):
            await asyncio.sleep(0.02)
        life = candidates[strike.pick % len(candidates)]
        self.kills.append(self._fleet.kill(life))
        return life.rpartition(".")[0]

    async def _start_later(self, name: str, down_s: float) -> None:
        await asyncio.sleep(down_s)
        self._fleet.start(name)

    async def _strike_store(self, strike: Strike) -> None:
        assert self._store is not None, "this store has no server to kill"
        self.kills.append(await self._store.kill())
        await asyncio.sleep(strike.down_s)
        await self._store.restart()
