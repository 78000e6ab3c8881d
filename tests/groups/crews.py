"""Agents for tests of what one node does in groups: each does what the test tells it to, and notes what it was told."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from meshd import AutonomousAgent, GroupTask, Mesh, Node, Settings
from meshd.groups.announced import Announced
from meshd.groups.behaviour import Progress
from meshd.groups.enrolment import Enrolment
from meshd.groups.model import Announcement
from meshd.groups.registry import Registry
from meshd.groups.waiting import Call
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)


class Worker(AutonomousAgent):
    """Works while `gate` is closed, then returns its name, or fails as it was told to."""

    def __init__(
        self, name: str, *skills: str, slots: int | None = None, is_held: bool = False, fails: str = ""
    ) -> None:
        super().__init__(name, skills=skills or ("python",), slots=slots)
        self.gate = asyncio.Event()
        if not is_held:
            self.gate.set()
        self.fails = fails
        self.parts: list[GroupTask] = []
        self.at_work = 0
        self.most_at_work = 0
        self.heard: list[Progress] = []
        self.stopped_for: list[str] = []

    async def on_start(self, task: GroupTask) -> Any:
        self.parts.append(task)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await self.gate.wait()
        finally:
            self.at_work -= 1
        if self.fails:
            raise RuntimeError(self.fails)
        return self.name

    async def on_update(self, task: GroupTask, update: Progress) -> None:
        self.heard.append(update)

    async def on_cancel(self, task: GroupTask, reason: str) -> None:
        self.stopped_for.append(reason)


class Choosy(Worker):
    """Rejects with `answer` unless that is `True`; `wants_it` says whether it offers."""

    answer: bool | str = True
    wants_it = True
    calls: list[Call]

    async def on_announce(self, call: Call) -> bool:
        self.calls = [*getattr(self, "calls", []), call]
        return self.wants_it

    async def on_invite(self, task: GroupTask) -> bool | str:
        return self.answer


def quick_settings(mesh: str, **groups: Any) -> Settings:
    """Times short enough to watch."""
    times = {"hold_seconds": 1.0, "start_seconds": 1.0, "offer_window_ms": 150, **groups}
    return Settings.load(
        mesh=mesh,
        heartbeat_interval_seconds=0.1,
        node_timeout_seconds=1.0,
        memory_sync={"enabled": False},
        peers={"enabled": "off"},
        roles={"lease_seconds": 1.0, "idle_seconds": 0.5},
        groups=times,
    )


@asynccontextmanager
async def crew(url: str, settings: Settings, *agents: AutonomousAgent, name: str = "crew") -> AsyncGenerator[Node]:
    """A node that hosts these agents, while it runs."""
    async with Node(name, grace=timedelta(seconds=2)).host(*agents).running(url, settings=settings) as node:
        yield node


async def enrolment(mesh: Mesh, agent: str) -> Enrolment:
    kept = await Registry(mesh.records).find(agent)
    assert kept is not None
    return kept.enrolment


async def until_free(mesh: Mesh, *agents: str) -> None:
    """Return once these agents hold nothing."""

    async def is_free() -> bool:
        return not any([(await enrolment(mesh, agent)).book.holds for agent in agents])

    await wait_until(is_free, timeout=15)


async def ended(announced: Announced) -> Announcement:
    return await announced.outcome(SOON)
