"""Agents of every manner: some do what they should, some refuse, keep silent, stand still, fail or take too long."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.groups.behaviour import Part, Progress
from meshd.groups.model import Candidate, Skill
from meshd.groups.waiting import Call
from meshd.nodes.model import Level
from tests.groups_model.machines import Process

MANNERS = ("willing", "choosy", "refusing", "silent", "standing", "failing", "slow", "telling", "odd")
FOREVER_S = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is the same in every life of an agent."""

    name: str
    skills: Mapping[str, Level]
    slots: int
    manner: str = "willing"
    work_s: float = 1.0


@dataclass(slots=True, kw_only=True)
class Deeds:
    """What agents did, as an outside world would see it."""

    say: Callable[[str], None]
    crowded: list[str] = field(default_factory=list[str])


class Actor:
    """One life of an agent; implements `meshd.groups.behaviour.Behaviour`."""

    def __init__(self, kind: Kind, process: Process, deeds: Deeds, rng: Random) -> None:
        self.name = kind.name
        self._kind = kind
        self._process = process
        self._deeds = deeds
        self._rng = rng
        self._at_work = 0

    @property
    def is_choosy(self) -> bool:
        return self._kind.manner == "choosy"

    @property
    def may_refuse(self) -> bool:
        return self._kind.manner in ("refusing", "silent", "standing")

    def declared(self, *, node: str, incarnation: int, slots: int) -> Candidate:
        del slots
        skills = {name: Skill(name=name, level=level) for name, level in self._kind.skills.items()}
        return Candidate(agent=self.name, node=node, incarnation=incarnation, skills=skills, slots=self._kind.slots)

    async def wants(self, call: Call) -> bool:
        del call
        await asyncio.sleep(self._rng.uniform(0, 0.4))
        if self._rng.random() < 0.2:
            raise RuntimeError("it cannot say")
        return self._rng.random() < 0.7

    async def refusal(self, part: Part) -> str:
        del part
        if self._kind.manner == "silent" and self._rng.random() < 0.6:
            await asyncio.sleep(FOREVER_S)
        if self._kind.manner == "standing" and self._rng.random() < 0.5:
            asyncio.get_running_loop().call_later(
                self._rng.uniform(0, 0.02), self._process.stall, self._rng.uniform(3, 25)
            )
        return "it is busy" if self._kind.manner == "refusing" and self._rng.random() < 0.6 else ""

    async def work(self, part: Part) -> Any:
        self._enter(part.announcement.id)
        try:
            return await self._worked(part)
        finally:
            self._at_work -= 1
            self._deeds.say(f"{self.name} ends its work for {part.announcement.id}")

    async def told(self, part: Part, progress: Progress) -> None:
        del part, progress

    async def stopped(self, part: Part, reason: str) -> None:
        del part, reason

    def _enter(self, announcement: str) -> None:
        self._at_work += 1
        self._deeds.say(f"{self.name} begins to work for {announcement}")
        if self._at_work > self._kind.slots:
            self._deeds.crowded.append(f"{self.name} does {self._at_work} things at once in {self._kind.slots} slots")

    async def _worked(self, part: Part) -> Any:
        work_s = self._rng.uniform(0, 2) * self._kind.work_s * (20 if self._kind.manner == "slow" else 1)
        if self._kind.manner == "telling":
            for step in range(4):
                await asyncio.sleep(work_s / 4)
                await part.report(step / 4, "on the way")
        else:
            await asyncio.sleep(work_s)
        if self._kind.manner == "failing" and self._rng.random() < 0.6:
            raise RuntimeError("it broke")
        if self._kind.manner == "odd" and self._rng.random() < 0.4:
            return object()
        return f"{self.name} did {part.roles}"
