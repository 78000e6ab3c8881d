"""Teaming up: announcements of work that needs several skills, and the working groups that do it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from meshd.nodes.model import Level


class GroupMessage(StrEnum):
    """What is said while a group forms and works; each is one transition of `protocol.py`."""

    TASK_ANNOUNCE = "task_announce"
    SKILL_QUERY = "skill_query"
    SKILL_OFFER = "skill_offer"
    GROUP_INVITE = "group_invite"
    GROUP_ACCEPT = "group_accept"
    GROUP_REJECT = "group_reject"
    """Always with a reason."""
    GROUP_FORMED = "group_formed"
    TASK_START = "task_start"
    TASK_UPDATE = "task_update"
    TASK_COMPLETE = "task_complete"
    TASK_CANCEL = "task_cancel"
    TASK_FAILED = "task_failed"


class AnnouncementState(StrEnum):
    WAITING = "waiting"
    """What it depends on has not completed; nobody is asked yet."""
    ANNOUNCED = "announced"
    """Offers are taken."""
    NEGOTIATING = "negotiating"
    """The best offers are invited; holds are taken."""
    FORMED = "formed"
    """Every role has a member whose slot is held; nobody has started."""
    RUNNING = "running"
    """Every member has been told to start."""
    REFORMING = "reforming"
    """A member was lost; its role is open again, results of the others are kept."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (AnnouncementState.COMPLETED, AnnouncementState.FAILED, AnnouncementState.CANCELLED)


class PartialPolicy(StrEnum):
    """What happens when the formation time is over and a skill is not covered."""

    FAIL = "fail"
    EXTEND = "extend"
    """Wait on, until the deadline."""
    START = "start"
    """Start with whoever is there; the group is labelled partial."""


class Urgency(IntEnum):
    """Priorities of announcements, as those of tasks; the value is the virtual delay in seconds."""

    CRITICAL = 0
    HIGH = 10
    NORMAL = 30
    LOW = 90
    BACKGROUND = 270


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What an agent says it can do, and what its recorded outcomes say."""

    name: str
    level: Level = Level.INTERMEDIATE
    success_rate: float = 1.0
    """Declared: a prior worth `PRIOR_OUTCOMES` outcomes, so no single one erases it."""
    average_ms: float = 0.0
    """Declared mean time to complete; 0 unknown."""
    completed: float = 0.0
    """Recorded outcomes, each losing half its weight each half-life."""
    failed: float = 0.0
    count: int = 0
    """Recorded outcomes, ever."""
    measured_ms: float = 0.0
    """Exponentially weighted mean of the declared and the recorded times, newest .2; 0 before the first."""
    at_ms: int = 0
    """Store time of the last recorded outcome."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


PRIOR_OUTCOMES = 4.0
REPUTATION_HALF_LIFE_MS = 7 * 24 * 3_600_000
"""Of recorded outcomes, in reputations and in skills."""
GIVEN_HALF_LIFE_MS = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reputation:
    """Beta mean (completed + 2) / (completed + failed + 4) of recorded outcomes, weights halved each half-life."""

    completed: float = 0.0
    failed: float = 0.0
    at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An agent that might take part, as the registry shows it."""

    agent: str
    node: str = ""
    incarnation: int = 0
    skills: Mapping[str, Skill] = field(default_factory=dict[str, Skill])
    reputation: Reputation = Reputation()
    slots: int = 5
    taken: int = 0
    """Slots that hold a group or an invitation."""
    cost: float = 1.0
    """What it asks for its time, 0 or more."""
    given: float = 0.0
    """Groups it was invited to of late, each losing half its weight each `GIVEN_HALF_LIFE_MS`."""
    given_ms: int = 0
    """Store time of the last of them."""
    counted: tuple[str, ...] = ()
    """Ids of the last outcomes recorded, the newest last, so that none counts twice."""

    @property
    def availability(self) -> float:
        """Free share of its slots, 0 to 1: computed from what it holds, so it cannot leak."""
        return max(0.0, 1.0 - self.taken / self.slots) if self.slots > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillNeed:
    """A skill somebody in the group must have."""

    name: str
    level: Level = Level.NOVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    agent: str
    incarnation: int
    skills: tuple[str, ...]
    """Those needed that it has at the level asked for."""
    score: float
    availability: float
    estimated_ms: float = 60_000.0
    cost: float = 1.0
    given: float = 0.0
    """As the candidate's when it offered."""
    node: str = ""
    """Where the agent lives."""
    unanswered: int = 0
    """Invitations it let run out; it is asked again only when nobody else covers the gap, and after two not at all."""
    free: int = 0
    """Its free slots when it offered; 0 where that is not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A slot held on an agent, until it answers or the hold ends."""

    agent: str
    incarnation: int
    round: int
    """Of the announcement, when it was invited; never used twice, so it names the hold."""
    roles: tuple[str, ...]
    """Skills it is to cover."""
    expires_ms: int
    """The hold in the agent's book stays at least as long as the record has this invitation, whatever the time."""
    accepted: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    agent: str
    incarnation: int
    roles: tuple[str, ...]
    round: int = 0
    """Of the invitation it accepted: names its slot."""
    epoch: int = 1
    """In which it joined; it may show this epoch or any later one."""
    token: int = 0
    """Of the formation in which it joined."""
    starts_until_ms: int = 0
    """When its start is missed; 0 before it is told to start."""
    is_reminded: bool = False
    started: bool = False
    progress: float = 0.0
    note: str = ""
    updated_ms: int = 0
    """When it was last heard."""
    is_done: bool = False
    """Its result is among the announcement's."""
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """The whole truth about one piece of work and its group, as one record keeps it."""

    id: str
    initiator: str
    description: str = ""
    payload: Any = None
    needs: tuple[SkillNeed, ...] = ()
    max_size: int = 5
    urgency: Urgency = Urgency.NORMAL
    partial: PartialPolicy = PartialPolicy.FAIL
    depends_on: tuple[str, ...] = ()
    """Announcements that complete before anybody is asked; if one of them fails, so does this one."""
    awaits: tuple[str, ...] = ()
    """Those of them that are not known to have completed."""
    parent: str = ""
    """The announcement this is a part of; it ends when that one does."""
    state: AnnouncementState = AnnouncementState.ANNOUNCED
    epoch: int = 0
    """Rises with each formation. Who is no member any more is refused, always; a survivor's old one counts."""
    token: int = 0
    """Fencing token of this formation; rises with each, also over a store that lost its last writes."""
    round: int = 0
    """Rises with each batch of invitations, and is never used twice."""
    offers: Mapping[str, Offer] = field(default_factory=dict[str, Offer])
    invitations: Mapping[str, Invitation] = field(default_factory=dict[str, Invitation])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """Agents that rejected, did not answer, did not start or failed, and why; not asked again for this announcement."""
    dead: Mapping[str, int] = field(default_factory=dict[str, int])
    """Agents that died, and in which incarnation; a later one may offer."""
    members: Mapping[str, Member] = field(default_factory=dict[str, Member])
    is_partial: bool = False
    reformations: int = 0
    announced_ms: int = 0
    offers_until_ms: int = 0
    """Until when better offers are waited for."""
    formed_ms: int = 0
    forms_until_ms: int = 0
    deadline_ms: int = 0
    ended_ms: int = 0
    reason: str = ""
    """Why it failed or was cancelled."""
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """By role: also those of members that are gone."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
