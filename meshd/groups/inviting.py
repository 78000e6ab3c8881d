"""Inviting the best of those who offered, and what becomes of their answers.

Invariant: an invitation names a round that was never used before, and the announcement names it before any slot is held
for it. A rejection, a death, a full agent or silence opens a gap, and only the gap is filled again.
"""

from collections.abc import Mapping
from dataclasses import replace

from meshd.errors import FencedError, InvalidArgumentError, InvalidTransitionError
from meshd.groups.forming import form_if_ready
from meshd.groups.happenings import GroupAccepted, GroupRejected, SlotMissed
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, Invitation, Offer, PartialPolicy
from meshd.groups.slots import Take
from meshd.groups.steps import Outgoing, Rules, Step, open_needs, refuse, releases, say, without

MAX_UNANSWERED = 2
OPEN = (AnnouncementState.ANNOUNCED, AnnouncementState.NEGOTIATING, AnnouncementState.REFORMING)
"""States in which a gap may be filled."""


def invite(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with the best offers for its gap invited; unchanged if they cannot fill it.

    If they cannot fill it beside those who are invited, but could without them, the invitations begin anew. Where a
    partial group may start, whoever fills part of the gap is invited too. Who accepted already is held longer.
    """
    if announcement.state not in OPEN or not open_needs(announcement):
        return Step(announcement=announcement)
    plan = _plan(announcement, rules=rules)
    if plan is None and announcement.invitations:
        anew = _plan(replace(announcement, invitations={}), rules=rules)
        if anew is not None:
            return withdraw(announcement, list(announcement.invitations)).then(
                lambda current: _invited(current, anew, now_ms=now_ms, rules=rules)
            )
    if plan is None and announcement.partial is PartialPolicy.START:
        plan = _partial_plan(announcement, rules=rules)
    if not plan:
        return Step(announcement=_without_negotiation(announcement))
    return _invited(announcement, plan, now_ms=now_ms, rules=rules)


def accept(announcement: Announcement, event: GroupAccepted, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with the invitation accepted, and the group formed if it was the last. Twice is once.

    Raises:
        FencedError: the agent is not invited (any more), was invited in another life, or does not hold the slot.
        InvalidTransitionError: the announcement is over.
    """
    if announcement.state.is_over:
        raise InvalidTransitionError(announcement.id, state=announcement.state, event="group_accept")
    member = announcement.members.get(event.agent)
    if member is not None and (member.round, member.incarnation) == (event.round, event.incarnation):
        return Step(announcement=announcement)
    invitation = announcement.invitations.get(event.agent)
    subject = f"invitation of {event.agent} to {announcement.id}"
    if invitation is None or now_ms >= invitation.expires_ms:
        raise FencedError(subject, token=event.round, current=0)
    if event.round != invitation.round:
        raise FencedError(subject, token=event.round, current=invitation.round)
    if event.incarnation != invitation.incarnation:
        raise FencedError(f"life of {event.agent}", token=event.incarnation, current=invitation.incarnation)
    if not _is_held(announcement, event):
        raise FencedError(f"slot of {event.agent} for {announcement.id}", token=event.round, current=0)
    accepted = replace(invitation, accepted=True)
    current = replace(announcement, invitations={**announcement.invitations, event.agent: accepted})
    formed = form_if_ready(current, now_ms=now_ms, rules=rules)
    return formed if formed.announcement is not current else renew(current, now_ms=now_ms, rules=rules)


def reject(announcement: Announcement, event: GroupRejected, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement without the agent, and the next best invited. A rejection that is late changes nothing.

    Raises:
        InvalidArgumentError: there is no reason.
        InvalidTransitionError: it is a member already; its part can fail, not be rejected.
    """
    if not event.reason.strip():
        raise InvalidArgumentError(f"{event.agent} rejects {announcement.id} without a reason: say why")
    member = announcement.members.get(event.agent)
    if member is not None and member.round == event.round and not announcement.state.is_over:
        raise InvalidTransitionError(announcement.id, state=announcement.state, event="group_reject")
    invitation = announcement.invitations.get(event.agent)
    if invitation is None or (invitation.round, invitation.incarnation) != (event.round, event.incarnation):
        return Step(announcement=announcement)
    return (
        withdraw(announcement, [event.agent])
        .then(lambda current: Step(announcement=refuse(current, event.agent, event.reason)))
        .then(lambda current: invite(current, now_ms=now_ms, rules=rules))
    )


def miss(announcement: Announcement, event: SlotMissed, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement without invitation and offer of a full agent, which may offer again when it is not."""
    invitation = announcement.invitations.get(event.agent)
    if invitation is None or invitation.round != event.round or invitation.accepted:
        return Step(announcement=announcement)
    return (
        withdraw(announcement, [event.agent])
        .then(lambda current: Step(announcement=replace(current, offers=without(current.offers, event.agent))))
        .then(lambda current: invite(current, now_ms=now_ms, rules=rules))
    )


def lapse(announcement: Announcement, *, now_ms: int) -> Step:
    """Return the announcement without the invitations whose time is over.

    Who did not answer is asked again only if nobody else can fill the gap, and after a second silence not at all. Who
    had accepted is not to blame: its offer stands.
    """
    gone = [each for _, each in sorted(announcement.invitations.items()) if each.expires_ms <= now_ms]
    step = withdraw(announcement, [each.agent for each in gone])
    current = step.announcement
    for each in gone:
        if not each.accepted:
            current = _unanswered(current, each.agent)
    return replace(step, announcement=current)


def renew(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with accepted holds that end soon made longer, as long as they can lead to a group."""
    soon = now_ms + rules.hold_margin_ms
    ending = [
        each
        for _, each in sorted(announcement.invitations.items())
        if each.accepted and now_ms < each.expires_ms <= soon
    ]
    if not ending or not is_worth_holding(announcement):
        return Step(announcement=announcement)
    return _held_longer(announcement, [each.agent for each in ending], now_ms=now_ms, rules=rules)


def is_worth_holding(announcement: Announcement) -> bool:
    """Return whether those invited fill the gap, or may start with a part of it filled."""
    return not open_needs(announcement) or announcement.partial is PartialPolicy.START


def withdraw(announcement: Announcement, agents: list[str]) -> Step:
    """Return the announcement without these invitations; the slots are free once it is written."""
    gone = [announcement.invitations[agent] for agent in agents]
    left = {agent: each for agent, each in announcement.invitations.items() if agent not in agents}
    current = _without_negotiation(replace(announcement, invitations=left))
    return Step(announcement=current, slots=releases(announcement, gone))


def say_invited(announcement: Announcement, invitation: Invitation) -> tuple[Outgoing, ...]:
    """Return the message that invites an agent; the same each time."""
    return say(
        announcement,
        GroupMessage.GROUP_INVITE,
        [invitation.agent],
        stamp=invitation.round,
        round=invitation.round,
        incarnation=invitation.incarnation,
        roles=invitation.roles,
        expires_ms=invitation.expires_ms,
    )


def take_of(announcement: Announcement, invitation: Invitation) -> Take:
    """Return the slot an invitation needs."""
    return Take(
        agent=invitation.agent,
        announcement=announcement.id,
        round=invitation.round,
        incarnation=invitation.incarnation,
        expires_ms=invitation.expires_ms,
    )


def _plan(announcement: Announcement, *, rules: Rules) -> Mapping[str, tuple[str, ...]] | None:
    names = [need.name for need in open_needs(announcement)]
    return _chosen(announcement, names, rules=rules)


def _partial_plan(announcement: Announcement, *, rules: Rules) -> Mapping[str, tuple[str, ...]] | None:
    offered = {skill for offer in _eligible(announcement) for skill in offer.skills}
    names = [need.name for need in open_needs(announcement) if need.name in offered]
    while names:
        plan = _chosen(announcement, names, rules=rules)
        if plan is not None:
            return plan
        names.pop()
    return None


def _chosen(announcement: Announcement, names: list[str], *, rules: Rules) -> Mapping[str, tuple[str, ...]] | None:
    room = announcement.max_size - len(announcement.members) - len(announcement.invitations)
    eligible = _eligible(announcement)
    for offers in ([each for each in eligible if not each.unanswered], eligible):
        found = rules.select(names, offers, max_size=room, salt=announcement.id) if room > 0 else None
        if found is not None:
            return found.roles
    return None


def _eligible(announcement: Announcement) -> list[Offer]:
    busy = announcement.members.keys() | announcement.invitations.keys()
    return [offer for agent, offer in sorted(announcement.offers.items()) if agent not in busy]


def _invited(announcement: Announcement, plan: Mapping[str, tuple[str, ...]], *, now_ms: int, rules: Rules) -> Step:
    expires_ms = now_ms + rules.hold_ms
    fresh = {
        agent: Invitation(
            agent=agent,
            incarnation=announcement.offers[agent].incarnation,
            round=announcement.round + 1,
            roles=roles,
            expires_ms=expires_ms,
            node=announcement.offers[agent].node,
        )
        for agent, roles in sorted(plan.items())
    }
    is_reforming = announcement.state is AnnouncementState.REFORMING
    current = replace(
        announcement,
        state=announcement.state if is_reforming else AnnouncementState.NEGOTIATING,
        round=announcement.round + 1,
        invitations={**announcement.invitations, **fresh},
    )
    waiting = [agent for agent, each in sorted(announcement.invitations.items()) if each.accepted]
    step = _held_longer(current, waiting, now_ms=now_ms, rules=rules)
    return replace(
        step,
        slots=(*step.slots, *(take_of(current, each) for each in fresh.values())),
        messages=tuple(one for each in fresh.values() for one in say_invited(current, each)),
    )


def _held_longer(announcement: Announcement, agents: list[str], *, now_ms: int, rules: Rules) -> Step:
    expires_ms = now_ms + rules.hold_ms
    longer = {
        agent: replace(announcement.invitations[agent], expires_ms=expires_ms)
        for agent in agents
        if now_ms < announcement.invitations[agent].expires_ms
    }
    current = replace(announcement, invitations={**announcement.invitations, **longer})
    return Step(announcement=current, slots=tuple(take_of(current, each) for each in longer.values()))


def _unanswered(announcement: Announcement, agent: str) -> Announcement:
    offer = announcement.offers.get(agent)
    if offer is None:
        return announcement
    if offer.unanswered + 1 >= MAX_UNANSWERED:
        return refuse(announcement, agent, "did not answer")
    silent = replace(offer, unanswered=offer.unanswered + 1)
    return replace(announcement, offers={**announcement.offers, agent: silent})


def _without_negotiation(announcement: Announcement) -> Announcement:
    """Return the announcement as announced if it is negotiated with nobody any more."""
    if announcement.state is AnnouncementState.NEGOTIATING and not announcement.invitations:
        return replace(announcement, state=AnnouncementState.ANNOUNCED)
    return announcement


def _is_held(announcement: Announcement, event: GroupAccepted) -> bool:
    hold = event.hold
    shown = None if hold is None else (hold.announcement, hold.round, hold.incarnation)
    return shown == (announcement.id, event.round, event.incarnation)
