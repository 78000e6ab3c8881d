"""From an announcement to the offers for it.

Invariant: an offer is from a live agent that was not refused, of its latest life, for skills that are needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from meshd.errors import InvalidArgumentError, InvalidTransitionError
from meshd.groups.happenings import OffersGathered, SkillOffered, SkillQueried, TaskAnnounced
from meshd.groups.inviting import OPEN, invite, withdraw
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, Offer, SkillNeed
from meshd.groups.shares import is_even, price
from meshd.groups.steps import Rules, Step, open_needs, say
from meshd.ids import check_name

MAX_NEEDS = 32
MAX_GROUP = 100
MAX_LIFETIME_MS = 30 * 86_400_000


def announce(draft: Announcement, *, now_ms: int, rules: Rules) -> Announcement:
    """Return the announcement as it is first written: checked, with its times set. Its id is never used again.

    A deadline of 0 is `rules.lifetime_ms` from now; a formation time of 0 is `rules.formation_ms` from now. If it waits
    for others, all its times are counted anew from when they have completed.

    Raises:
        InvalidArgumentError: it asks for nothing, for too much, or for something that is over already.
    """
    check_name("announcement", draft.id)
    check_name("initiator", draft.initiator)
    _check_needs(draft)
    deadline_ms = draft.deadline_ms or now_ms + rules.lifetime_ms
    if not now_ms < deadline_ms <= now_ms + MAX_LIFETIME_MS:
        raise InvalidArgumentError(
            f"announcement {draft.id}: a deadline {deadline_ms - now_ms} ms from now is not 1 ms to 30 days ahead"
        )
    forms_until_ms = draft.forms_until_ms or now_ms + rules.formation_ms
    if forms_until_ms <= now_ms:
        raise InvalidArgumentError(f"announcement {draft.id}: its time to form is over; leave it 0, or set it ahead")
    return replace(
        draft,
        state=AnnouncementState.WAITING if draft.depends_on else AnnouncementState.ANNOUNCED,
        awaits=draft.depends_on,
        announced_ms=now_ms,
        offers_until_ms=min(now_ms + rules.offer_window_ms, deadline_ms),
        forms_until_ms=min(forms_until_ms, deadline_ms),
        deadline_ms=deadline_ms,
    )


def tell(announcement: Announcement, event: TaskAnnounced) -> Step:
    """Return what tells agents of the announcement: nothing to those it does not ask.

    Raises:
        InvalidTransitionError: it is over, or waits for others.
    """
    if announcement.state.is_over or announcement.state is AnnouncementState.WAITING:
        raise InvalidTransitionError(announcement.id, state=announcement.state, event="task_announce")
    return Step(
        announcement=announcement,
        messages=say(
            announcement,
            GroupMessage.TASK_ANNOUNCE,
            _askable(announcement, event.agents),
            stamp="once",
            initiator=announcement.initiator,
            description=announcement.description,
            skills=_levels(announcement.needs),
            urgency=announcement.urgency.name.lower(),
            deadline_ms=announcement.deadline_ms,
        ),
    )


def query(announcement: Announcement, event: SkillQueried, *, now_ms: int, rules: Rules) -> Step:
    """Return what asks agents to fill the gap, each once in the time of a hold; nothing if there is no gap."""
    gap = open_needs(announcement)
    if announcement.state not in OPEN or not gap:
        return Step(announcement=announcement)
    return Step(
        announcement=announcement,
        messages=say(
            announcement,
            GroupMessage.SKILL_QUERY,
            _askable(announcement, event.agents),
            stamp=now_ms // rules.hold_ms,
            skills=_levels(gap),
        ),
    )


def offer(announcement: Announcement, event: SkillOffered, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with the offer, and the best invited when there are enough or none is waited for.

    An offer that is late, of an earlier life, of an agent that was refused, or of no skill that is needed changes
    nothing. One of a later life than was invited ends that invitation.
    """
    step = _taken(announcement, [event.offer], rules=rules)
    is_awaited = now_ms < announcement.offers_until_ms and len(step.announcement.offers) < rules.enough_offers
    if step.announcement is announcement or is_awaited:
        return step
    return step.then(lambda current: invite(current, now_ms=now_ms, rules=rules))


def gather(announcement: Announcement, event: OffersGathered, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with those of the offers that count, and the best of all invited."""
    step = _taken(announcement, event.offers, rules=rules)
    return step.then(lambda current: invite(current, now_ms=now_ms, rules=rules))


def _taken(announcement: Announcement, made: Iterable[Offer], *, rules: Rules) -> Step:
    """Return the announcement with those of the offers that count."""
    if announcement.state not in OPEN:
        return Step(announcement=announcement)
    offers = dict(announcement.offers)
    for each in made:
        one, before = _needed(announcement, each), offers.get(each.agent)
        if _is_welcome(announcement, one, before):
            is_same_life = before is not None and before.incarnation == one.incarnation
            offers[one.agent] = replace(one, unanswered=before.unanswered) if before and is_same_life else one
    if offers == announcement.offers:
        return Step(announcement=announcement)
    step = Step(announcement=replace(announcement, offers=_best(announcement, offers, rules=rules)))
    outlived = [
        agent
        for agent, invitation in announcement.invitations.items()
        if agent in offers and invitation.incarnation < offers[agent].incarnation
    ]
    return step.then(lambda current: withdraw(current, outlived)) if outlived else step


def _check_needs(draft: Announcement) -> None:
    names = [check_name("skill", need.name) for need in draft.needs]
    if not 1 <= len(names) <= MAX_NEEDS:
        raise InvalidArgumentError(f"announcement {draft.id} needs {len(names)} skills: name 1 to {MAX_NEEDS}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidArgumentError(f"announcement {draft.id} needs {twice} twice: name each skill once")
    if not 1 <= draft.max_size <= MAX_GROUP:
        raise InvalidArgumentError(f"announcement {draft.id}: a group of {draft.max_size} is not 1 to {MAX_GROUP}")


def _askable(announcement: Announcement, agents: Sequence[str]) -> list[str]:
    busy = announcement.members.keys() | announcement.invitations.keys() | announcement.refused.keys()
    return [agent for agent in agents if agent not in busy]


def _levels(needs: Sequence[SkillNeed]) -> dict[str, int]:
    return {need.name: int(need.level) for need in needs}


def _needed(announcement: Announcement, made: Offer) -> Offer:
    needed = {need.name for need in announcement.needs}
    skills = tuple(skill for skill in made.skills if skill in needed)
    return made if skills == made.skills else replace(made, skills=skills)


def _is_welcome(announcement: Announcement, made: Offer, before: Offer | None) -> bool:
    return (
        bool(made.skills)
        and made.agent not in announcement.refused
        and made.incarnation > announcement.dead.get(made.agent, -1)
        and (before is None or before.incarnation <= made.incarnation)
    )


def _best(announcement: Announcement, offers: Mapping[str, Offer], *, rules: Rules) -> Mapping[str, Offer]:
    """Return the offers to keep: all in use, then of each skill the best in turn, so that no skill is crowded out."""
    if len(offers) <= rules.max_offers:
        return offers
    kept = dict.fromkeys(
        agent for agent in offers if agent in announcement.invitations or agent in announcement.members
    )
    even = is_even(announcement.id, rules.shares)
    best_first = sorted(
        offers.values(), key=lambda one: (one.unanswered, price(one, even=even, shares=rules.shares), one.agent)
    )
    columns = [[one.agent for one in best_first if need.name in one.skills] for need in announcement.needs]
    for row in range(len(offers)):
        for column in columns:
            if row < len(column) and len(kept) < rules.max_offers:
                kept.setdefault(column[row])
    return {agent: offers[agent] for agent in kept}
