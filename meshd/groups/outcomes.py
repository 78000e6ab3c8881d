"""What the end of a member's work says about it. Pure.

Invariant: figures move only by an `Outcome`, an outcome is made only of what a member said, and each membership counts
once: a fenced or repeated reply changes nothing.
"""

from dataclasses import dataclass, replace

from meshd.errors import FencedError
from meshd.groups import reputation, skills
from meshd.groups.model import Announcement, Candidate

REMEMBERED = 16
"""How many outcomes an agent keeps the ids of: more than it can hold groups at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one membership ended."""

    id: str
    agent: str
    skills: tuple[str, ...]
    """The roles it had."""
    is_success: bool
    at_ms: int
    """Store time of the end."""
    took_ms: float = 0.0
    """From start to end; 0 unknown."""


def outcome_of(
    announcement: Announcement,
    agent: str,
    *,
    incarnation: int,
    epoch: int,
    is_success: bool,
    at_ms: int,
    took_ms: float = 0.0,
) -> Outcome:
    """Return what a member's word about its end is to be recorded as; `announcement` as it was when it said so.

    Raises:
        FencedError: the agent is no member, is one under another incarnation, or shows an epoch before it joined.
    """
    subject = f"agent {agent} in the group of {announcement.id}"
    member = announcement.members.get(agent)
    if member is None:
        raise FencedError(subject, token=epoch, current=0)
    if incarnation != member.incarnation:
        raise FencedError(f"{subject}, incarnation", token=incarnation, current=member.incarnation)
    if not member.epoch <= epoch <= announcement.epoch:
        raise FencedError(f"{subject}, epoch", token=epoch, current=announcement.epoch)
    return Outcome(
        id=f"{announcement.id}:{member.round}",
        agent=agent,
        skills=member.roles,
        is_success=is_success,
        at_ms=at_ms,
        took_ms=took_ms,
    )


def recorded(candidate: Candidate, outcome: Outcome) -> Candidate:
    """Return the agent after an outcome of its own; unchanged if it was recorded before."""
    if outcome.agent != candidate.agent or outcome.id in candidate.counted:
        return candidate
    moved = {
        name: skills.recorded(
            candidate.skills[name], is_success=outcome.is_success, took_ms=outcome.took_ms, at_ms=outcome.at_ms
        )
        for name in outcome.skills
        if name in candidate.skills
    }
    return replace(
        candidate,
        skills={**candidate.skills, **moved},
        reputation=reputation.recorded(candidate.reputation, is_success=outcome.is_success, at_ms=outcome.at_ms),
        counted=(*candidate.counted, outcome.id)[-REMEMBERED:],
    )
