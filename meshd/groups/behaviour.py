"""What an agent does when it is asked, invited and told to work: a port, for whoever implements agents."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from meshd.errors import InvalidArgumentError
from meshd.groups.model import Announcement, Candidate
from meshd.groups.waiting import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an agent is to do, or is asked to do, in one group."""

    agent: str
    roles: tuple[str, ...]
    announcement: Announcement
    """As it was when the part began."""
    results: Mapping[str, Mapping[str, Any]]
    """Of the announcements this one depends on: results by role."""
    report: Callable[[float, str], Awaitable[None]]
    """Tells how far the work is, 0 to 1, with a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What another member of the group reports."""

    agent: str
    progress: float
    note: str


class Behaviour(Protocol):
    """One agent. What it raises is its own failure, never the node's."""

    @property
    def name(self) -> str: ...

    def declared(self, *, node: str, incarnation: int, slots: int) -> Candidate:
        """Return what it can do; `slots` where it says nothing else."""
        ...

    @property
    def is_choosy(self) -> bool:
        """Whether `wants` is to be asked before it offers."""
        ...

    @property
    def may_refuse(self) -> bool:
        """Whether `refusal` is to be asked before it accepts."""
        ...

    async def wants(self, call: Call) -> bool:
        """Return whether it offers to take part."""
        ...

    async def refusal(self, part: Part) -> str:
        """Return why it will not take part; empty if it will."""
        ...

    async def work(self, part: Part) -> Any:
        """Do the part and return its result. Cancelled when it is not wanted any more."""
        ...

    async def told(self, part: Part, progress: Progress) -> None:
        """Another member reports."""
        ...

    async def stopped(self, part: Part, reason: str) -> None:
        """Its work was not wanted any more before it was done."""
        ...


def not_begun(announcement: Announcement, *, agent: str, roles: tuple[str, ...]) -> Part:
    """Return the part an agent is invited to."""
    return Part(agent=agent, roles=roles, announcement=announcement, results={}, report=_too_early)


async def _too_early(progress: float, note: str) -> None:
    raise InvalidArgumentError(f"progress {progress} ({note}) before the work has begun")
