"""What can happen to an announcement: an event for each of the twelve messages, for time, deaths and other work.

Each event may come late, twice or out of order; `protocol.apply` says what becomes of it in every state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshd.groups.model import AnnouncementState, Offer
from meshd.groups.slots import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnnounced:
    """TASK_ANNOUNCE: these agents are to be told; each is told once."""

    agents: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillQueried:
    """SKILL_QUERY: these agents, all live, are to be asked whether they can fill the gap."""

    agents: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillOffered:
    """SKILL_OFFER: an agent can, and has room for it."""

    offer: Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class OffersGathered:
    """SKILL_OFFER of several, heard together: no more are waited for, the best of all are invited."""

    offers: Sequence[Offer]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInvited:
    """GROUP_INVITE: invite the best of those who offered now, without waiting for better offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAccepted:
    """GROUP_ACCEPT: an agent will take part, and shows its hold, read before the announcement was."""

    agent: str
    incarnation: int
    round: int
    hold: Hold | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRejected:
    """GROUP_REJECT: an agent will not take part."""

    agent: str
    incarnation: int
    round: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFormed:
    """GROUP_FORMED: form the group now, if everybody has accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """TASK_START: tell the members to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUpdated:
    """TASK_UPDATE: a member is at work; its first one, also with nothing done, says that it has started."""

    agent: str
    incarnation: int
    epoch: int
    token: int
    progress: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCompleted:
    """TASK_COMPLETE: a member has done its part."""

    agent: str
    incarnation: int
    epoch: int
    token: int
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCancelled:
    """TASK_CANCEL: the work is not wanted any more."""

    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    """TASK_FAILED: a member cannot do its part."""

    agent: str
    incarnation: int
    epoch: int
    token: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDied:
    """An agent, or the node it lives on, is dead in this incarnation."""

    agent: str
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMissed:
    """An invited agent has no free slot after all."""

    agent: str
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OthersSeen:
    """Announcements that this one waits for, or is a part of, were looked at."""

    states: Mapping[str, AnnouncementState | None]
    """`None`: it is not kept (any more)."""


MemberEvent = TaskUpdated | TaskCompleted | TaskFailed
"""What only a member may say, with the epoch and token it was given."""

GroupEvent = (
    TaskAnnounced
    | SkillQueried
    | SkillOffered
    | OffersGathered
    | GroupInvited
    | GroupAccepted
    | GroupRejected
    | GroupFormed
    | TaskStarted
    | TaskCancelled
    | MemberEvent
    | Ticked
    | AgentDied
    | SlotMissed
    | OthersSeen
)
