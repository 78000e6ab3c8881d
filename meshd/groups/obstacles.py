"""What keeps an agent out of a group, and an announcement from having one, predicate by predicate. Pure.

One list serves the choice, which leaves such agents out, and `mesh explain`, which says why: the two cannot disagree.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from meshd.groups.covering import cover, least_size
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Offer, Skill, SkillNeed
from meshd.groups.scoring import DEFAULT_RULES, ScoreRules, brought, has_room, meets, offer_of
from meshd.groups.skills import level_at, level_name
from meshd.groups.steps import open_needs


class ObstacleKind(StrEnum):
    """Why an agent is not asked."""

    OVER = "over"
    """The announcement has ended."""
    WAITING = "waiting"
    """The announcement waits for others to complete."""
    MEMBER = "member"
    """It is in the group already."""
    INVITED = "invited"
    """It is invited already."""
    COVERED = "covered"
    """Every skill has a member, a result, or somebody invited for it."""
    REFUSED = "refused"
    """It rejected, did not answer, did not start or failed: it is not asked again for this announcement."""
    DIED = "died"
    """It died while it was invited or a member; under a later incarnation it may offer."""
    AWAY = "away"
    """The node it lives on is not alive."""
    LACKS = "lacks"
    """It has none of the skills that are open, at the level asked for."""
    FULL = "full"
    """Every slot is taken."""
    BUSY = "busy"
    """Too few slots are free to offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One failing predicate."""

    kind: ObstacleKind
    detail: str
    skill: str = ""
    """The skill that is not there, if that is what fails."""


class UnblockKind(StrEnum):
    """What a pending announcement waits for."""

    OTHER_WORK = "other_work"
    """What it waits for has not completed."""
    SKILL = "skill"
    """Nobody has the skill at the level asked for."""
    ROOM = "room"
    """Who has it has no slot free."""
    OTHERS = "others"
    """Who has it has refused: somebody else must have it."""
    SIZE = "size"
    """Each skill is offered, but no group as small as it must be has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unblock:
    """One thing that would let a group form."""

    kind: UnblockKind
    detail: str
    skill: str = ""
    agents: tuple[str, ...] = ()
    """Who is meant: the nearest, or those in the way; at most `NAMED`."""


NAMED = 3


def need_text(need: SkillNeed) -> str:
    """Return the need as it is written: `python>=advanced`."""
    return f"{need.name}>={level_name(need.level)}"


def why_not(
    candidate: Candidate, announcement: Announcement, now_ms: int, rules: ScoreRules = DEFAULT_RULES
) -> list[Obstacle]:
    """Return every predicate that fails for this agent; none: it may offer."""
    found = of_past(candidate, announcement)
    if announcement.state.is_over:
        return [*found, Obstacle(kind=ObstacleKind.OVER, detail=f"the announcement is {announcement.state}")]
    if announcement.state is AnnouncementState.WAITING:
        found.append(Obstacle(kind=ObstacleKind.WAITING, detail=f"it waits for {_awaited(announcement)}"))
    needs = open_needs(announcement)
    if not needs:
        held = ", ".join(sorted({*announcement.members, *announcement.invitations}))
        found.append(
            Obstacle(kind=ObstacleKind.COVERED, detail=f"every skill is covered, or asked of somebody: {held}")
        )
    elif not brought(candidate, needs, now_ms, rules):
        found += [_lack(candidate, need, now_ms, rules) for need in needs if not _has(candidate, need, now_ms, rules)]
    return found + of_room(candidate, rules)


def _awaited(announcement: Announcement) -> str:
    return ", ".join(announcement.awaits)


def of_past(candidate: Candidate, announcement: Announcement) -> list[Obstacle]:
    """Return what it has had to do with the announcement that keeps it from being asked."""
    agent = candidate.agent
    found: list[Obstacle] = []
    if agent in announcement.members:
        found.append(Obstacle(kind=ObstacleKind.MEMBER, detail="is in the group already"))
    if agent in announcement.invitations:
        found.append(Obstacle(kind=ObstacleKind.INVITED, detail="is invited already"))
    if agent in announcement.refused:
        found.append(Obstacle(kind=ObstacleKind.REFUSED, detail=announcement.refused[agent]))
    if announcement.dead.get(agent, -1) >= candidate.incarnation:
        found.append(Obstacle(kind=ObstacleKind.DIED, detail=f"incarnation {announcement.dead[agent]} died"))
    return found


def of_room(candidate: Candidate, rules: ScoreRules = DEFAULT_RULES) -> list[Obstacle]:
    """Return whether it has too few free slots to offer."""
    if has_room(candidate, rules):
        return []
    taken = f"{candidate.taken} of {candidate.slots} slots taken"
    if candidate.taken >= candidate.slots:
        return [Obstacle(kind=ObstacleKind.FULL, detail=taken)]
    least = f"{rules.least_availability:g} must be free"
    return [Obstacle(kind=ObstacleKind.BUSY, detail=f"{taken}, so {candidate.availability:.3g} is free and {least}")]


def unblocking(
    announcement: Announcement, candidates: Sequence[Candidate], now_ms: int, rules: ScoreRules = DEFAULT_RULES
) -> list[Unblock]:
    """Return what would let a group form, given these live agents; nothing: one can, is being formed, or is over."""
    needs = open_needs(announcement)
    if announcement.state.is_over or not needs:
        return []
    if announcement.state is AnnouncementState.WAITING:
        return [Unblock(kind=UnblockKind.OTHER_WORK, detail=f"that {_awaited(announcement)} completes")]
    offers: list[Offer] = []
    for one in candidates:
        offer = None if of_past(one, announcement) else offer_of(one, needs, now_ms, rules)
        if offer is not None:
            offers.append(offer)
    offered = {name for offer in offers for name in offer.skills}
    missing = [need for need in needs if need.name not in offered]
    if missing:
        return [_missing(need, announcement, candidates, now_ms, rules) for need in missing]
    return _too_large(announcement, needs, offers)


def _missing(
    need: SkillNeed, announcement: Announcement, candidates: Sequence[Candidate], now_ms: int, rules: ScoreRules
) -> Unblock:
    able = sorted((one for one in candidates if _has(one, need, now_ms, rules)), key=lambda one: one.agent)
    asked = need_text(need)
    if not able:
        near = _nearest(need, candidates, now_ms, rules)
        told = f"; nearest is {near[0]} at {near[1]}" if near else ""
        agents = (near[0],) if near else ()
        return Unblock(
            kind=UnblockKind.SKILL, skill=need.name, agents=agents, detail=f"an agent with {asked}: none here{told}"
        )
    full = [one for one in able if not of_past(one, announcement)]
    if full:
        told = "; ".join(f"{one.agent}: {of_room(one, rules)[0].detail}" for one in full[:NAMED])
        return Unblock(
            kind=UnblockKind.ROOM,
            skill=need.name,
            agents=_named(full),
            detail=f"a free slot of one of {len(full)} with {asked}: {told}",
        )
    told = "; ".join(f"{one.agent}: {of_past(one, announcement)[0].detail}" for one in able[:NAMED])
    return Unblock(
        kind=UnblockKind.OTHERS,
        skill=need.name,
        agents=_named(able),
        detail=f"another agent with {asked} than the {len(able)} that are out: {told}",
    )


def _too_large(announcement: Announcement, needs: Iterable[SkillNeed], offers: Sequence[Offer]) -> list[Unblock]:
    names = [need.name for need in needs]
    held = len({*announcement.members, *announcement.invitations})
    places = announcement.max_size - held
    if cover(names, offers, max_size=places) is not None:
        return []
    size = held + (least_size(names, offers) or 0)
    detail = f"a group of {size} instead of at most {announcement.max_size}, or agents with more of {', '.join(names)}"
    return [Unblock(kind=UnblockKind.SIZE, detail=detail)]


def _has(candidate: Candidate, need: SkillNeed, now_ms: int, rules: ScoreRules) -> bool:
    return meets(candidate.skills.get(need.name), need, now_ms, rules)


def _lack(candidate: Candidate, need: SkillNeed, now_ms: int, rules: ScoreRules) -> Obstacle:
    held = candidate.skills.get(need.name)
    instead = f"has {_level(held, now_ms, rules)}" if held is not None else "not there"
    return Obstacle(kind=ObstacleKind.LACKS, skill=need.name, detail=f"{need_text(need)}: {instead}")


def _level(skill: Skill, now_ms: int, rules: ScoreRules) -> str:
    return level_name(level_at(skill, now_ms, rules.evidence))


def _nearest(
    need: SkillNeed, candidates: Iterable[Candidate], now_ms: int, rules: ScoreRules
) -> tuple[str, str] | None:
    """Return who has the skill at the highest level, and that level."""
    held = [(one, one.skills[need.name]) for one in candidates if need.name in one.skills]
    if not held:
        return None
    agent, skill = min(held, key=lambda one: (-level_at(one[1], now_ms, rules.evidence), one[0].agent))
    return agent.agent, _level(skill, now_ms, rules)


def _named(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(one.agent for one in candidates[:NAMED])
