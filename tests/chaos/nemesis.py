"""The nemesis: a seeded plan of kills and freezes, carried out by process id, each when a share of the work is done.

Tied to progress and not to time, every blow finds work in flight on a fast machine and on a slow one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Protocol

from tests.chaos.fleet import Fleet
from tests.chaos.history import Freeze, Kill
from tests.chaos.work import NODE_TIMEOUT_S

FIRST, LAST = 0.03, 0.95
"""Share of the work done before the first and the last blow."""


class Blow(StrEnum):
    """What is done to the victim."""

    KILL = "kill"
    """SIGKILL of a node process; it is started again under the same name."""
    FREEZE = "freeze"
    """SIGSTOP of a node process, and SIGCONT after its tasks went to others."""
    STORE = "store"
    """SIGKILL of the store's server; it is started again on the same port and directory."""
    LEAVE = "leave"
    """SIGTERM of a node process; it is started again under the same name once it has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One blow."""

    after: float
    """Share of the tasks completed before it, 0 to 1."""
    kind: Blow
    down_s: float
    """How long the victim stays down; a frozen one the node timeout longer, so it is judged dead and wakes a zombie."""
    pick: int
    """Chooses the victim among those at work."""


class KillsStore(Protocol):
    """How the store's server is killed and started again."""

    async def kill(self) -> Kill: ...

    async def restart(self) -> None: ...


def plan_strikes(rng: Random, blows: Mapping[Blow, int]) -> Sequence[Strike]:
    """Return the blows of a run, in order: spread over the whole run, each at a random place in its share."""
    planned = [blow for blow, times in blows.items() for _ in range(times)]
    planned = rng.sample(planned, len(planned))
    return [
        Strike(
            after=FIRST + (LAST - FIRST) * (number + rng.uniform(0, 0.9)) / len(planned),
            kind=kind,
            down_s=rng.uniform(0.05, 1.0),
            pick=rng.randrange(1_000),
        )
        for number, kind in enumerate(planned)
    ]


class Nemesis:
    """Carries out a plan; `kills` and `freezes` grow as it goes."""

    def __init__(self, fleet: Fleet, store: KillsStore | None) -> None:
        self._fleet = fleet
        self._store = store
        self.kills: list[Kill] = []
        self.freezes: list[Freeze] = []
        self.leaves = 0
        self._spared: set[str] = set()
        """Lives that are frozen or leaving at the moment."""

    async def run(self, strikes: Sequence[Strike], *, reached: Callable[[float], Awaitable[None]]) -> None:
        """Return when every strike was made and every victim is up again; `reached` waits for a share of the work."""
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                await reached(strike.after)
                match strike.kind:
                    case Blow.STORE:
                        await self._strike_store(strike)
                    case Blow.KILL:
                        life = await self._victim(strike)
                        self.kills.append(self._fleet.kill(life))
                        group.create_task(self._start_later(life.rpartition(".")[0], strike.down_s))
                    case Blow.FREEZE:
                        group.create_task(self._freeze(await self._victim(strike), strike.down_s))
                    case Blow.LEAVE:
                        group.create_task(self._send_away(await self._victim(strike)))

    async def _victim(self, strike: Strike) -> str:
        while not (candidates := [life for life in self._fleet.at_work() if life not in self._spared]):
            await asyncio.sleep(0.02)
        return candidates[strike.pick % len(candidates)]

    async def _start_later(self, name: str, down_s: float) -> None:
        await asyncio.sleep(down_s)
        self._fleet.start(name)

    async def _freeze(self, life: str, longer_s: float) -> None:
        self._spared.add(life)
        self.freezes.append(await self._fleet.freeze(life, NODE_TIMEOUT_S + longer_s))
        self._spared.discard(life)

    async def _send_away(self, life: str) -> None:
        self.leaves += 1
        await self._fleet.send_away(life)
        self._fleet.start(life.rpartition(".")[0])

    async def _strike_store(self, strike: Strike) -> None:
        assert self._store is not None, "this store has no server to kill"
        self.kills.append(await self._store.kill())
        await asyncio.sleep(strike.down_s)
        await self._store.restart()
