"""What an announcement says of one who has, or had, a part in it. Pure."""

from dataclasses import replace

from meshd.groups.announcements import Done, Kept
from meshd.groups.happenings import GroupRejected, TaskFailed
from meshd.groups.model import Announcement, GroupMessage
from meshd.groups.slots import Take
from meshd.groups.steps import Outgoing, mark
from meshd.groups.wire import Envelope

LEAVING = "its node leaves the mesh"
"""Why an agent gives up its part when its node does not die but goes."""


def has_left(current: Announcement | None, agent: str, number: int) -> bool:
    """Return whether an announcement that has come to this round does not name the agent with it any more."""
    if current is None or current.state.is_over:
        return True
    named = (current.members.get(agent), current.invitations.get(agent))
    return current.round >= number and not any(each is not None and each.round == number for each in named)


def why(current: Announcement | None) -> str:
    if current is None:
        return "it is kept no more"
    if current.state.is_over:
        return current.reason or f"it is {current.state}"
    return "it is no member any more"


def to_colleagues(done: Done) -> list[Outgoing]:
    """Return what tells the other members of a member's progress."""
    return [
        replace(message, to=agent)
        for message in done.messages
        if message.type is GroupMessage.TASK_UPDATE
        for agent in done.announcement.members
        if agent not in (message.to, message.payload.get("agent"))
    ]


def unchanged(kept: Kept) -> Done:
    return Done(announcement=kept.announcement, kept=kept, before=kept.announcement.state)


def farewell(current: Announcement, agent: str, number: int) -> TaskFailed | GroupRejected | None:
    member, invitation = current.members.get(agent), current.invitations.get(agent)
    if current.state.is_over:
        return None
    if member is not None and member.round == number and not member.is_done:
        return TaskFailed(
            agent=agent, incarnation=member.incarnation, epoch=member.epoch, token=member.token, reason=LEAVING
        )
    if invitation is not None and invitation.round == number:
        return GroupRejected(agent=agent, incarnation=invitation.incarnation, round=number, reason=LEAVING)
    return None


def answer(type: GroupMessage | str, wanted: Take, *, reason: str = "") -> Envelope:
    """Return what tells a hub that an invitation was accepted or rejected, or that there was no room."""
    payload = {"round": wanted.round, "incarnation": wanted.incarnation, **({"reason": reason} if reason else {})}
    return Envelope(
        type=type,
        announcement=wanted.announcement,
        sender=wanted.agent,
        id=f"{wanted.announcement}:{type}:{wanted.round}.{mark(wanted.agent)}",
        payload=payload,
    )
