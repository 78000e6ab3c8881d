"""A mesh of groups on a real store: nodes with agents, and hubs, each with the store opened anew as a process would."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.backends import Backend
from meshd.groups.announcements import Announcements
from meshd.groups.behaviour import Part, Progress
from meshd.groups.hub import Hub
from meshd.groups.leading import HubOptions
from meshd.groups.lives import Census
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Skill, SkillNeed
from meshd.groups.participant import Participant, ParticipantOptions
from meshd.groups.registry import Registry
from meshd.groups.waiting import Call
from meshd.nodes.model import Membership, NodeProfile, Vitals
from meshd.nodes.store import NODES_LOG
from tests.support.waiting import wait_until

OVER = (AnnouncementState.COMPLETED, AnnouncementState.FAILED, AnnouncementState.CANCELLED)


@dataclass
class Doer:
    """An agent that does what it is told to, unless told otherwise."""

    name: str
    skills: Sequence[str] = ("x",)
    slots: int = 5
    works: Callable[[Part], Awaitable[Any]] | None = None
    refuses: str = ""
    did: list[str] = field(default_factory=list[str])
    """Announcements it worked for, in order."""
    at_work: int = 0
    most_at_work: int = 0
    is_choosy: bool = False

    @property
    def may_refuse(self) -> bool:
        return bool(self.refuses)

    def declared(self, *, node: str, incarnation: int, slots: int) -> Candidate:
        del slots
        skills = {name: Skill(name=name) for name in self.skills}
        return Candidate(agent=self.name, node=node, incarnation=incarnation, skills=skills, slots=self.slots)

    async def wants(self, call: Call) -> bool:
        del call
        return True

    async def refusal(self, part: Part) -> str:
        del part
        return self.refuses

    async def work(self, part: Part) -> Any:
        self.did.append(part.announcement.id)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            return await self.works(part) if self.works is not None else self.name
        finally:
            self.at_work -= 1

    async def told(self, part: Part, progress: Progress) -> None:
        del part, progress

    async def stopped(self, part: Part, reason: str) -> None:
        del part, reason


class Death:
    """When a hub dies: before so many calls of the store."""

    def __init__(self, before: int | None) -> None:
        self.left = before
        self.of: Hub | None = None

    async def threaten(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0 and self.of is not None:
            kill(self.of)
            await asyncio.Event().wait()


class Mortal:
    """A port whose caller may die before any call."""

    def __init__(self, port: Any, death: Death) -> None:
        self._port = port
        self._death = death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name == "subscribe":
            return found

        async def call(*args: Any, **more: Any) -> Any:
            await self._death.threaten()
            return await found(*args, **more)

        return call


def kill(hub: Hub) -> None:
    """End a hub between two steps, as the death of its process would: it says and undoes nothing."""
    inside: Any = hub
    for task in (*inside._tasks.values(), inside._keeping, inside._ear._running):
        if task is not None:
            task.cancel()


class LivingMesh:
    """All of it, in one process; every part has a store opened for itself."""

    def __init__(self, opened: Callable[[], Awaitable[Backend]], stack: AsyncExitStack, *, options: HubOptions) -> None:
        self._opened = opened
        self._stack = stack
        self.options = options
        self._kills: dict[str, Callable[[], Awaitable[None]]] = {}

    async def node(self, name: str, *doers: Doer) -> Membership:
        """Let a node with these agents join."""
        backend = await self._opened()
        profile = NodeProfile(id=name, host="localhost", pid=1, version="1")
        membership = await backend.nodes.join(profile, Vitals())
        participant = Participant(
            Announcements(backend.records),
            Registry(backend.records),
            backend.events,
            node=name,
            incarnation=lambda: membership.incarnation,
            options=ParticipantOptions(rules=self.options.rules),
            rng=Random(name),
        )
        hurry = asyncio.Event()
        hurry.set()
        await self._stack.enter_async_context(participant.taking_part(doers, grace_s=0, hurry=hurry))
        return membership

    async def hub(
        self,
        name: str,
        *,
        is_willing: bool = False,
        dies_before: int | None = None,
        is_deaf: bool = False,
        max_open: int = 1_000,
    ) -> Hub:
        """Let a hub lead; a willing one leads what nobody leads, too.

        One that `dies_before` so many calls of the store dies there. A deaf one hears nothing of nodes.
        """
        backend = await self._opened()
        death = Death(dies_before)

        async def here() -> Mapping[str, int]:
            return {node.id: node.incarnation for node in await backend.nodes.list()}

        records: Any = Mortal(backend.records, death)
        events: Any = Mortal(backend.events, death)
        hub = Hub(
            Announcements(records, max_open=max_open),
            Registry(records),
            events,
            census=Census(topic="nothing" if is_deaf else NODES_LOG, here=here),
            name=name,
            options=self.options,
            rng=Random(name),
        )
        death.of = hub
        hub.start()
        if dies_before is None:
            self._stack.push_async_callback(hub.aclose)
        else:
            self._stack.callback(kill, hub)
        if is_willing:
            self._stack.push_async_callback(_stopped, asyncio.create_task(_rounds(hub)))
        return hub


async def _rounds(hub: Hub) -> None:
    while True:
        due_s = await hub.round()
        await asyncio.sleep(0.2 if due_s is None else min(due_s, 0.2))


async def _stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def living(
    opened: Callable[[], Awaitable[Backend]], *, options: HubOptions | None = None
) -> AsyncGenerator[LivingMesh]:
    """A mesh for the length of the block."""
    async with AsyncExitStack() as stack:
        yield LivingMesh(opened, stack, options=options or HubOptions())


def draft(id: str, *skills: str, **more: Any) -> Callable[[int], Announcement]:
    """Return what makes an announcement."""
    needs = tuple(SkillNeed(name=name) for name in skills or ("x",))
    return lambda now_ms: Announcement(id=id, initiator="boss", needs=needs, **more)


async def ended(announcements: Announcements, id: str, *, timeout: float = 10.0) -> Announcement:
    """Return the announcement once it is over."""

    async def is_over() -> bool:
        return (await announcements.get(id)).announcement.state in OVER

    await wait_until(is_over, timeout)
    return (await announcements.get(id)).announcement
