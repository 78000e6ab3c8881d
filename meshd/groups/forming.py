"""Forming a group in one step, and telling it to start.

Invariant: a group is formed of agents that accepted, in the life in which they were invited, and whose slots are held;
either every role is filled, or the group is labelled partial where its announcement allows that.
"""

from dataclasses import replace

from meshd.errors import InvalidTransitionError
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, Invitation, Member
from meshd.groups.slots import Confirm
from meshd.groups.steps import Outgoing, Rules, Step, open_needs, releases, say

FORMABLE = (AnnouncementState.NEGOTIATING, AnnouncementState.REFORMING)


def obstacle(announcement: Announcement, *, now_ms: int, rules: Rules) -> str:
    """Return why the group cannot be formed now; empty if it can."""
    if announcement.state not in FORMABLE:
        return f"it is {announcement.state}"
    missing = open_needs(announcement, accepted_only=True)
    if missing:
        return f"nobody has accepted {', '.join(need.name for need in missing)}"
    if len(announcement.members) + len(announcement.invitations) > announcement.max_size:
        return f"it would have more than {announcement.max_size} members"
    for agent, invitation in sorted(announcement.invitations.items()):
        unfit = _unfit(announcement, invitation, now_ms=now_ms, rules=rules)
        if unfit:
            return f"{agent} {unfit}"
    return ""


def form(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with its group formed: all of it, or nothing. Unchanged if it is formed already.

    Raises:
        InvalidTransitionError: it cannot be formed now.
    """
    if announcement.state in (AnnouncementState.FORMED, AnnouncementState.RUNNING):
        return Step(announcement=announcement)
    why_not = obstacle(announcement, now_ms=now_ms, rules=rules)
    if why_not:
        raise InvalidTransitionError(announcement.id, state=f"so that {why_not}", event="group_formed")
    return _formed(announcement, now_ms=now_ms)


def form_if_ready(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with its group formed if that can be, else unchanged."""
    if obstacle(announcement, now_ms=now_ms, rules=rules):
        return Step(announcement=announcement)
    return _formed(announcement, now_ms=now_ms)


def form_partly(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with a group of those who accepted, labelled partial; unchanged if there is nobody.

    Whoever has not answered is not waited for; the slot is free again.
    """
    ready = {
        agent: invitation
        for agent, invitation in announcement.invitations.items()
        if not _unfit(announcement, invitation, now_ms=now_ms, rules=rules)
    }
    if not ready and not announcement.members:
        return Step(announcement=announcement)
    late = [invitation for agent, invitation in announcement.invitations.items() if agent not in ready]
    formed = _formed(replace(announcement, invitations=ready), now_ms=now_ms)
    return replace(formed, slots=(*releases(announcement, late), *formed.slots))


def start(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement as running; members that were not told to start are told. Unchanged if it runs.

    Raises:
        InvalidTransitionError: no group is formed.
    """
    if announcement.state is AnnouncementState.RUNNING:
        return Step(announcement=announcement)
    if announcement.state is not AnnouncementState.FORMED:
        raise InvalidTransitionError(announcement.id, state=announcement.state, event="task_start")
    members = {
        agent: member if member.starts_until_ms else replace(member, starts_until_ms=now_ms + rules.start_ms)
        for agent, member in announcement.members.items()
    }
    running = replace(announcement, state=AnnouncementState.RUNNING, members=members)
    untold = [member for member in announcement.members.values() if not member.starts_until_ms]
    return Step(announcement=running, messages=tuple(one for member in untold for one in say_start(running, member)))


def say_start(announcement: Announcement, member: Member) -> tuple[Outgoing, ...]:
    """Return the message that tells a member to start; the same each time."""
    return say(
        announcement,
        GroupMessage.TASK_START,
        [member.agent],
        stamp=member.round,
        epoch=member.epoch,
        token=member.token,
        roles=member.roles,
    )


def say_formed(announcement: Announcement) -> tuple[Outgoing, ...]:
    """Return what tells the initiator and all members who is in the group; the same each time in one epoch."""
    return say(
        announcement,
        GroupMessage.GROUP_FORMED,
        [announcement.initiator, *announcement.members],
        stamp=announcement.epoch,
        epoch=announcement.epoch,
        token=announcement.token,
        members={agent: member.roles for agent, member in sorted(announcement.members.items())},
        partial=announcement.is_partial,
    )


def _formed(announcement: Announcement, *, now_ms: int) -> Step:
    epoch, token = announcement.epoch + 1, max(announcement.token + 1, now_ms * 1_000)
    joining = {
        agent: Member(
            agent=agent,
            incarnation=invitation.incarnation,
            roles=invitation.roles,
            round=invitation.round,
            epoch=epoch,
            token=token,
            updated_ms=now_ms,
            node=invitation.node,
        )
        for agent, invitation in announcement.invitations.items()
    }
    formed = replace(
        announcement,
        state=AnnouncementState.FORMED,
        epoch=epoch,
        token=token,
        members={**announcement.members, **joining},
        invitations={},
        is_partial=bool(open_needs(announcement, accepted_only=True)),
        formed_ms=now_ms,
    )
    confirms = tuple(
        Confirm(agent=agent, announcement=announcement.id, round=member.round)
        for agent, member in sorted(joining.items())
    )
    return Step(announcement=formed, slots=confirms, messages=say_formed(formed))


def _unfit(announcement: Announcement, invitation: Invitation, *, now_ms: int, rules: Rules) -> str:
    if not invitation.accepted:
        return "has not accepted"
    if invitation.expires_ms < now_ms + rules.hold_margin_ms:
        return "has a hold that ends too soon"
    if announcement.dead.get(invitation.agent, -1) >= invitation.incarnation:
        return "is dead"
    offer = announcement.offers.get(invitation.agent)
    if offer is not None and offer.incarnation != invitation.incarnation:
        return "was restarted since it was invited"
    return ""
