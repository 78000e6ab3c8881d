"""A node with agents in its own process: `python -m tests.groups_processes.agents_process URL MESH NAME CAST`.

What an agent does is said by the announcement's payload, so that one process serves many tests:

    hold      do not end before this file exists
    after     role → role: do not end before the result of the other role is there
    update    report half of the work, then the rest
    work_s    how long the work takes, times the agent's pace
"""

import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from meshd import AutonomousAgent, GroupTask, Node, Settings
from meshd.groups.waiting import Call
from tests.groups_processes.trap import Trap, lay


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """One agent, as a test wants it."""

    name: str
    skills: tuple[str, ...]
    slots: int = 5
    cost: float = 1.0
    rejects: str = ""
    """Why it rejects every invitation."""
    raises: str = ""
    """What its work ends with."""
    shy: int = 0
    """How often it must be asked for an announcement before it offers."""
    pace: float = 1.0
    """How long it takes, in `work_s`."""
    fails_one_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Everybody in one process."""

    players: tuple[Player, ...]
    journal: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    grace_s: float = 30.0
    trap: Trap | None = None
    clock: str = ""
    """File that says what time it is."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Playing(AutonomousAgent):
    """An agent that does as it is told, and notes in the journal when it begins and ends."""

    def __init__(self, player: Player, journal: int) -> None:
        super().__init__(player.name, skills=player.skills, slots=player.slots, cost=player.cost)
        self._player = player
        self._journal = journal
        self._calls = Counter[str]()
        self._worked = 0

    async def on_announce(self, call: Call) -> bool:
        self._calls[call.announcement] += 1
        return self._calls[call.announcement] > self._player.shy

    async def on_invite(self, task: GroupTask) -> bool | str:
        return self._player.rejects or True

    async def on_start(self, task: GroupTask) -> Any:
        self._note("start", task)
        try:
            return await self._work(task)
        finally:
            self._note("end", task)

    async def _work(self, task: GroupTask) -> Any:
        self._worked += 1
        said: dict[str, Any] = task.payload or {}
        if self._player.raises:
            raise ValueError(self._player.raises)
        if self._player.fails_one_in and self._worked % self._player.fails_one_in == 0:
            raise ValueError(f"{self.name} fails now and then")
        if said.get("update"):
            await task.update(0.5, "half")
        await asyncio.sleep(said.get("work_s", 0) * self._player.pace)
        for role in task.roles:
            await _result_of(task, said.get("after", {}).get(role))
        while "hold" in said and not Path(said["hold"]).exists():
            await asyncio.sleep(0.01)
        return {"agent": self.name, "pid": os.getpid()}

    def _note(self, event: str, task: GroupTask) -> None:
        entry = {
            "event": event,
            "agent": self.name,
            "pid": os.getpid(),
            "announcement": task.id,
            "roles": list(task.roles),
        }
        os.write(self._journal, json.dumps(entry).encode() + b"\n")


async def _result_of(task: GroupTask, role: str | None) -> None:
    """Return once the role has a result."""
    while role is not None and role not in (await task.node.groups.get(task.id)).results:
        await asyncio.sleep(0.02)


async def main(url: str, mesh: str, name: str, cast: Cast) -> None:
    lay(cast.trap, cast.clock)
    journal = os.open(cast.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    node = Node(name, grace=timedelta(seconds=cast.grace_s))
    node.host(*(Playing(player, journal) for player in cast.players))
    await node.run(url, settings=Settings.load(mesh=mesh, **cast.settings))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], TypeAdapter(Cast).validate_json(sys.argv[4])))
