"""Autonomous agents: they say what they can do, and take part in the groups that need it."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from meshd.errors import ConfigurationError, DeadlineError, InvalidArgumentError, MeshError, NotFoundError
from meshd.groups.behaviour import Part, Progress
from meshd.groups.model import Announcement, Candidate, Skill, SkillNeed, Urgency
from meshd.groups.skills import check_skill, level_named
from meshd.groups.waiting import Call
from meshd.ids import check_name
from meshd.runtime.talk import TALK, Talk
from meshd.settings import Settings

if TYPE_CHECKING:
    from meshd.groups.announced import Announced, GroupResults
    from meshd.runtime.node import Node

MAX_SLOTS = 10_000
TALK_KEPT = timedelta(hours=1)
"""How long what members tell each other waits for a process that is away."""


class GroupTask:
    """One agent's part in one group, while it lasts."""

    def __init__(self, part: Part, node: "Node | None", talk: Talk) -> None:
        self._part = part
        self._node = node
        self._talk = talk

    def __repr__(self) -> str:
        return f"GroupTask({self.id!r}, agent={self.agent!r}, roles={self.roles!r})"

    @property
    def id(self) -> str:
        """Of the announcement."""
        return self._part.announcement.id

    @property
    def agent(self) -> str:
        """Whose part this is."""
        return self._part.agent

    @property
    def roles(self) -> Sequence[str]:
        """The skills this agent is there for."""
        return self._part.roles

    @property
    def announcement(self) -> Announcement:
        """All of it, as it was when this part began."""
        return self._part.announcement

    @property
    def description(self) -> str:
        return self._part.announcement.description

    @property
    def payload(self) -> Any:
        return self._part.announcement.payload

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._part.announcement.metadata

    @property
    def urgency(self) -> Urgency:
        return self._part.announcement.urgency

    @property
    def deadline_ms(self) -> int:
        """Store time at which all of it ends."""
        return self._part.announcement.deadline_ms

    @property
    def members(self) -> Mapping[str, Sequence[str]]:
        """Who is in the group, and for which skills."""
        return {name: member.roles for name, member in self._part.announcement.members.items()}

    @property
    def results(self) -> Mapping[str, Mapping[str, Any]]:
        """Of the announcements this one depends on, by id: results by role."""
        return self._part.results

    @property
    def node(self) -> "Node":
        """The node the agent lives on: its memory, its messages, its groups."""
        if self._node is None:
            raise MeshError(f"agent {self.agent} lives on no node")
        return self._node

    async def update(self, progress: float, note: str = "") -> None:
        """Tell how far the work is, 0 to 1; written at most each 200 ms, the last one always.

        Raises:
            InvalidArgumentError: the progress is not 0 to 1.
        """
        await self._part.report(progress, note)

    async def tell(self, role: str, kind: str, payload: Any = None) -> None:
        """Send a message of some kind to whoever has another role in this group now; its work gets it from `heard`.

        Raises:
            NotFoundError: nobody has that role (any more).
        """
        announcement = await self.node.groups.get(self.id)
        member = next((each for each in announcement.members.values() if role in each.roles), None)
        if member is None:
            raise NotFoundError(f"nobody in the group of {self.id} has the role {role!r}")
        said = {"announcement": self.id, "kind": kind, "payload": payload}
        await self.node.messages.send(member.agent, TALK, said, sender=self.agent, ttl=TALK_KEPT)

    async def heard(self, kind: str, *, timeout: timedelta | None = None) -> Any:
        """Return the payload of the oldest message of a kind that was told this part, each once, in its sender's order.

        Raises:
            DeadlineError: none came within `timeout`.
        """
        try:
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                return await self._talk.next(self.id, self.agent, kind)
        except TimeoutError:
            raise DeadlineError(f"{self.agent} was told no {kind!r} in the group of {self.id} in time") from None

    async def announce(self, description: str, *, skills: Iterable[SkillNeed | str], **more: Any) -> "Announced":
        """Announce a part of this work; it ends when this does. Takes what `Groups.announce` takes."""
        more.setdefault("priority", self.urgency)
        return await self.node.groups.announce(description, skills=skills, parent=self.id, **more)

    async def delegate(
        self,
        description: str,
        *,
        skills: Iterable[SkillNeed | str],
        timeout: timedelta | None = None,
        **more: Any,
    ) -> "GroupResults":
        """Have a part of this work done by a group of its own, and return its results by role.

        Raises:
            GroupFailedError: it failed or was cancelled.
            DeadlineError: it is not over within `timeout`.
        """
        announced = await self.announce(description, skills=skills, **more)
        return await announced.result(timeout)


class AutonomousAgent:
    """An agent that takes part in working groups. Subclass it, say what it can do and what it does.

        class Analyst(AutonomousAgent):
            skills = [Skill(name="python", level=Level.EXPERT), "statistics=advanced"]

            async def on_start(self, task: GroupTask) -> Any:
                return summary_of(task.payload)

        asyncio.run(Analyst("ana-1").run("redis://localhost"))

    Its methods may be sync: then they run in a thread.
    """

    skills: ClassVar[Sequence[Skill | str]] = ()
    """What agents of this class can do; `"name"` is at level intermediate, `"name=level"` at another."""

    def __init__(
        self,
        name: str,
        *,
        skills: Iterable[Skill | str] | None = None,
        slots: int | None = None,
        cost: float = 1.0,
        role: str = "",
    ) -> None:
        """`slots`: in how many groups at once, as the setting says if not given; `cost`: what it asks for its time.

        Raises:
            InvalidArgumentError: a name, a skill, the slots or the cost cannot be.
        """
        self.name = check_name("agent", name)
        self.role = role
        declared = [check_skill(skill_of(each)) for each in (type(self).skills if skills is None else skills)]
        self._skills = {skill.name: skill for skill in declared}
        if not self._skills or len(self._skills) < len(declared):
            raise InvalidArgumentError(f"agent {name}: declare at least one skill, and each once")
        if slots is not None and not 1 <= slots <= MAX_SLOTS:
            raise InvalidArgumentError(f"agent {name}: {slots} slots are not 1 to {MAX_SLOTS}")
        if not 0 <= cost < float("inf"):
            raise InvalidArgumentError(f"agent {name}: a cost of {cost} is not 0 or more")
        self._slots = slots
        self._cost = cost
        self._node: Node | None = None
        self._talk = Talk()

    def on_start(self, task: GroupTask) -> Any:
        """Do the part in `task.roles` and return its result. Cancelled when it is not wanted any more."""
        raise NotImplementedError

    def on_update(self, task: GroupTask, update: Progress) -> Any:
        """Hear how far another member of the group is."""

    def on_announce(self, call: Call) -> Any:
        """Return whether to offer to take part."""
        return True

    def on_invite(self, task: GroupTask) -> Any:
        """Return `True` to accept, or a reason to reject."""
        return True

    def on_cancel(self, task: GroupTask, reason: str) -> Any:
        """Hear that a part that was being done is not wanted any more."""

    async def run(self, url: str | None = None, *, mesh: str | None = None, settings: Settings | None = None) -> None:
        """Live on a node of its own, of the same name, until it is told to stop; see `Node.run`."""
        from meshd.runtime.node import Node  # noqa: PLC0415 -- a node imports this module only if it hosts agents

        await Node(self.name).host(self).run(url, mesh=mesh, settings=settings)

    @property
    def declared_skills(self) -> Sequence[Skill]:
        """What it says it can do."""
        return list(self._skills.values())

    def settle_on(self, node: "Node", talk: Talk) -> None:
        """The agent lives on this node from now on, which hears what it is told; called by `Node.host`.

        Raises:
            ConfigurationError: it lives on another, or does not say what it does.
        """
        if self._node is not None and self._node is not node:
            raise ConfigurationError(f"agent {self.name} lives on node {self._node.name} already")
        if type(self).on_start is AutonomousAgent.on_start:
            raise ConfigurationError(f"agent {self.name}: {type(self).__name__} has no on_start")
        self._node, self._talk = node, talk

    # What follows is the port through which the node's participant reaches the agent: `groups.behaviour.Behaviour`.

    @property
    def is_choosy(self) -> bool:
        return type(self).on_announce is not AutonomousAgent.on_announce

    @property
    def may_refuse(self) -> bool:
        return type(self).on_invite is not AutonomousAgent.on_invite

    def declared(self, *, node: str, incarnation: int, slots: int) -> Candidate:
        return Candidate(
            agent=self.name,
            node=node,
            incarnation=incarnation,
            skills=self._skills,
            slots=self._slots or slots,
            cost=self._cost,
        )

    async def wants(self, call: Call) -> bool:
        return bool(await _called(self.on_announce, call))

    async def refusal(self, part: Part) -> str:
        answer = await _called(self.on_invite, GroupTask(part, self._node, self._talk))
        if isinstance(answer, str):
            return answer
        return "" if answer or answer is None else f"{self.name} will not"

    async def work(self, part: Part) -> Any:
        try:
            return await _called(self.on_start, GroupTask(part, self._node, self._talk))
        finally:
            self._talk.forget(part.announcement.id, self.name)

    async def told(self, part: Part, progress: Progress) -> None:
        if type(self).on_update is not AutonomousAgent.on_update:
            await _called(self.on_update, GroupTask(part, self._node, self._talk), progress)

    async def stopped(self, part: Part, reason: str) -> None:
        if type(self).on_cancel is not AutonomousAgent.on_cancel:
            await _called(self.on_cancel, GroupTask(part, self._node, self._talk), reason)


def skill_of(said: Skill | str) -> Skill:
    """Return the skill of a declaration `name` or `name=level`.

    Raises:
        InvalidArgumentError: it is none.
    """
    if isinstance(said, Skill):
        return said
    name, sign, level = said.partition("=")
    return Skill(name=name, level=level_named(level)) if sign else Skill(name=name)


async def _called(function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a handler returns: a sync one is called in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await asyncio.to_thread(function, *arguments)
