"""How an announcement ends: every slot free again, everybody told once. What is over stays as it is.

Invariant: the record is over before any slot is released, so no formation can follow.
"""

from dataclasses import replace

from meshd.errors import InvalidTransitionError
from meshd.groups.happenings import TaskCancelled
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, Invitation, Member
from meshd.groups.steps import Step, open_needs, releases, say

SAID = {
    AnnouncementState.COMPLETED: GroupMessage.TASK_COMPLETE,
    AnnouncementState.FAILED: GroupMessage.TASK_FAILED,
    AnnouncementState.CANCELLED: GroupMessage.TASK_CANCEL,
}


def end(announcement: Announcement, state: AnnouncementState, *, now_ms: int, reason: str = "") -> Step:
    """Return the announcement as over; results that are there stay."""
    over = replace(
        announcement,
        state=state,
        reason=reason,
        ended_ms=now_ms,
        is_partial=state is AnnouncementState.COMPLETED and bool(open_needs(announcement, accepted_only=True)),
        invitations={},
        offers={},
    )
    holders: tuple[Invitation | Member, ...] = (*announcement.invitations.values(), *announcement.members.values())
    told = (announcement.initiator, *(holder.agent for holder in holders))
    return Step(
        announcement=over,
        slots=releases(announcement, holders),
        messages=say(over, SAID[state], told, stamp="end", reason=reason, partial=over.is_partial),
    )


def is_overdue(announcement: Announcement, *, now_ms: int) -> bool:
    """Return whether its deadline has passed; what waits for others has none yet."""
    is_waiting = announcement.state is AnnouncementState.WAITING
    return now_ms >= announcement.deadline_ms and not (announcement.state.is_over or is_waiting)


def overdue(announcement: Announcement, *, now_ms: int) -> Step:
    """Return the announcement as failed, since its deadline has passed."""
    return end(announcement, AnnouncementState.FAILED, now_ms=now_ms, reason="its deadline has passed")


def cancel(announcement: Announcement, event: TaskCancelled, *, now_ms: int) -> Step:
    """Return the announcement as cancelled, at whatever stage it was; unchanged when it was cancelled before.

    Raises:
        InvalidTransitionError: it has completed or failed.
    """
    if announcement.state is AnnouncementState.CANCELLED:
        return Step(announcement=announcement)
    if announcement.state.is_over:
        raise InvalidTransitionError(announcement.id, state=announcement.state, event="task_cancel")
    reason = f"cancelled by {event.by}" + (f": {event.reason}" if event.reason else "")
    return end(announcement, AnnouncementState.CANCELLED, now_ms=now_ms, reason=reason)


def complete_if_done(announcement: Announcement, *, now_ms: int) -> Step:
    """Return the announcement as completed if every member is done and nothing is missing, or it may be partial."""
    is_done = all(member.is_done for member in announcement.members.values())
    is_whole = not open_needs(announcement, accepted_only=True)
    is_working = announcement.state in (AnnouncementState.FORMED, AnnouncementState.RUNNING)
    if is_done and (is_whole or (is_working and announcement.is_partial)):
        return end(announcement, AnnouncementState.COMPLETED, now_ms=now_ms)
    return Step(announcement=announcement)
