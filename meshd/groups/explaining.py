"""Why these agents were chosen, why the others were not, and what would let a group form. Pure.

Everything is judged by the rules that choose, on what is known now: scores and prices move as agents work, so those of
a choice long past are those its members and rivals would have today.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.groups.covering import price_with
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Invitation, Member, Offer
from meshd.groups.obstacles import Obstacle, ObstacleKind, Unblock, need_text, unblocking, why_not
from meshd.groups.scoring import DEFAULT_RULES, ScoreRules, Term, brought, offer_of, scored
from meshd.groups.shares import DEFAULT_SHARES, ShareRules, given_at, is_even, price
from meshd.groups.steps import open_needs
from meshd.scoring import Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An agent that is in the group, or invited to it."""

    agent: str
    node: str
    roles: tuple[str, ...]
    is_member: bool
    offered: float | None
    """Score it offered with, as long as the offer is kept."""
    scored: Scored[Term] | None
    """Its score now, term by term; `None`: it is gone."""
    price: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """An agent that has a part of what is needed, and is not in the group."""

    agent: str
    node: str
    skills: tuple[str, ...]
    """What it would bring, at the level asked for."""
    obstacles: tuple[Obstacle, ...]
    """Every predicate that fails for it."""
    scored: Scored[Term]
    price: float | None
    """Of the cheapest group with it in it; `None`: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupExplanation:
    """Everything there is to say about a choice."""

    announcement: Announcement
    summary: str
    weights: Mapping[Term, float]
    is_even: bool
    """Whether this announcement looks at no score: one in so many does."""
    chosen: tuple[Chosen, ...]
    price: float | None
    """Of the group as it is chosen; `None`: nobody is, or somebody is gone."""
    others: tuple[PassedOver, ...]
    unblock: tuple[Unblock, ...]


def explain(
    announcement: Announcement,
    candidates: Sequence[Candidate],
    *,
    away: Collection[str],
    now_ms: int,
    rules: ScoreRules = DEFAULT_RULES,
    shares: ShareRules = DEFAULT_SHARES,
) -> GroupExplanation:
    """Return why the group is as it is, given who has the skills; `away` are those whose node is not alive."""
    known = {one.agent: one for one in candidates}
    parts: dict[str, Invitation | Member] = {**announcement.invitations, **announcement.members}
    live = [one for one in candidates if one.agent not in away]
    offers = _offers(announcement, live, now_ms=now_ms, rules=rules)
    even = is_even(announcement.id, shares)
    chosen = tuple(
        _chosen(announcement, part, known.get(agent), offers.get(agent), even=even, now=(now_ms, rules, shares))
        for agent, part in sorted(parts.items())
    )
    prices = [each.price for each in chosen]
    others = [
        _passed_over(announcement, one, offers, is_away=one.agent in away, now=(now_ms, rules, shares))
        for one in candidates
        if one.agent not in parts
    ]
    return GroupExplanation(
        announcement=announcement,
        summary=summary_of(announcement),
        weights=rules.weights,
        is_even=even,
        chosen=chosen,
        price=sum(filter(None, prices)) if prices and None not in prices else None,
        others=tuple(sorted(others, key=lambda each: (-len(each.skills), *each.scored.order))),
        unblock=tuple(unblocking(announcement, live, now_ms, rules)),
    )


def summary_of(announcement: Announcement) -> str:
    """Return in one line where an announcement is, and why."""
    state = announcement.state
    if state.is_over:
        part = " partially" if announcement.is_partial else ""
        return f"is {state}{part}" + (f": {announcement.reason}" if announcement.reason else "")
    if state is AnnouncementState.WAITING:
        return f"is {state} for {', '.join(announcement.awaits)}"
    missing = ", ".join(need_text(need) for need in open_needs(announcement, accepted_only=True))
    if not missing:
        return f"is {state}: every skill has somebody"
    return f"is {state}: nobody has accepted {missing} yet"


def _offers(
    announcement: Announcement, live: Sequence[Candidate], *, now_ms: int, rules: ScoreRules
) -> dict[str, Offer]:
    """Return what was offered, and what those could offer now that have not, or whose offer is not kept any more."""
    made = dict(announcement.offers)
    for one in live:
        could = offer_of(_without(one, announcement), announcement.needs, now_ms, rules)
        if could is not None:
            made.setdefault(one.agent, could)
    return made


def _without(candidate: Candidate, announcement: Announcement) -> Candidate:
    """Return the agent as it would be had it no part in this: with that slot free."""
    has_part = candidate.agent in announcement.invitations or candidate.agent in announcement.members
    is_held = has_part and not announcement.state.is_over
    return replace(candidate, taken=max(0, candidate.taken - 1)) if is_held else candidate


def _chosen(
    announcement: Announcement,
    part: Invitation | Member,
    candidate: Candidate | None,
    offer: Offer | None,
    *,
    even: bool,
    now: tuple[int, ScoreRules, ShareRules],
) -> Chosen:
    now_ms, rules, shares = now
    found = None
    if candidate is not None:
        free = _without(candidate, announcement)
        roles = [role for role in part.roles if role in free.skills]
        found = scored(free, roles, now_ms, rules)
        offer = offer or _as_offer(free, part, found, now_ms)
    kept = announcement.offers.get(part.agent)
    return Chosen(
        agent=part.agent,
        node=part.node,
        roles=part.roles,
        is_member=isinstance(part, Member),
        offered=None if kept is None else kept.score,
        scored=found,
        price=None if offer is None else price(offer, even=even, shares=shares),
    )


def _passed_over(
    announcement: Announcement,
    one: Candidate,
    offers: Mapping[str, Offer],
    *,
    is_away: bool,
    now: tuple[int, ScoreRules, ShareRules],
) -> PassedOver:
    now_ms, rules, shares = now
    skills = brought(one, announcement.needs, now_ms, rules)
    gone = Obstacle(kind=ObstacleKind.AWAY, detail=f"its node {one.node or '(unknown)'} is not alive")
    return PassedOver(
        agent=one.agent,
        node=one.node,
        skills=skills,
        obstacles=(*([gone] if is_away else []), *why_not(one, announcement, now_ms, rules)),
        scored=scored(one, skills, now_ms, rules),
        price=price_with(
            one.agent,
            [need.name for need in announcement.needs],
            offers.values(),
            max_size=announcement.max_size,
            salt=announcement.id,
            shares=shares,
        ),
    )


def _as_offer(candidate: Candidate, part: Invitation | Member, found: Scored[Term], now_ms: int) -> Offer:
    return Offer(
        agent=candidate.agent,
        incarnation=part.incarnation,
        skills=part.roles,
        score=found.score,
        availability=candidate.availability,
        cost=candidate.cost,
        given=given_at(candidate, now_ms),
        node=part.node,
    )
