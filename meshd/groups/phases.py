"""Announcements that stand in relation to others: those that wait for others to complete, and parts of a whole.

Invariant: nobody is asked for what waits. Its times count from when the last of those it waited for has completed; one
that can complete no more fails it. What is a part of something ends with it. Pure.
"""

from collections.abc import Mapping
from dataclasses import replace

from meshd.groups.ending import end
from meshd.groups.happenings import OthersSeen
from meshd.groups.model import Announcement, AnnouncementState
from meshd.groups.steps import Step


def others_of(announcement: Announcement) -> tuple[str, ...]:
    """Return the announcements whose end means something to this one."""
    if announcement.state.is_over:
        return ()
    return (*announcement.awaits, *([announcement.parent] if announcement.parent else []))


def see(announcement: Announcement, event: OthersSeen, *, now_ms: int) -> Step:
    """Return the announcement as the states of others leave it: released, over, or unchanged."""
    if announcement.state.is_over:
        return Step(announcement=announcement)
    why = _whole_is_over(announcement, event.states)
    if why:
        return end(announcement, AnnouncementState.CANCELLED, now_ms=now_ms, reason=why)
    if announcement.state is not AnnouncementState.WAITING:
        return Step(announcement=announcement)
    for other in announcement.awaits:
        why = _cannot_complete(other, event.states)
        if why:
            return end(announcement, AnnouncementState.FAILED, now_ms=now_ms, reason=f"it waited for {why}")
    left = tuple(other for other in announcement.awaits if event.states.get(other) is not AnnouncementState.COMPLETED)
    if left == announcement.awaits and left:
        return Step(announcement=announcement)
    waiting = replace(announcement, awaits=left)
    return Step(announcement=waiting if left else released(waiting, now_ms=now_ms))


def released(announcement: Announcement, *, now_ms: int) -> Announcement:
    """Return the announcement as if it had been made just now."""
    waited_ms = now_ms - announcement.announced_ms
    return replace(
        announcement,
        state=AnnouncementState.ANNOUNCED,
        announced_ms=now_ms,
        offers_until_ms=announcement.offers_until_ms + waited_ms,
        forms_until_ms=announcement.forms_until_ms + waited_ms,
        deadline_ms=announcement.deadline_ms + waited_ms,
    )


def _whole_is_over(announcement: Announcement, states: Mapping[str, AnnouncementState | None]) -> str:
    parent = announcement.parent
    if not parent or parent not in states:
        return ""
    state = states[parent]
    if state is None:
        return f"{parent}, which it is a part of, is not kept (any more)"
    return f"{parent}, which it is a part of, is {state}" if state.is_over else ""


def _cannot_complete(other: str, states: Mapping[str, AnnouncementState | None]) -> str:
    if other not in states:
        return ""
    state = states[other]
    if state is None:
        return f"{other}, which is not kept (any more)"
    if state in (AnnouncementState.FAILED, AnnouncementState.CANCELLED):
        return f"{other}, which is {state}"
    return ""
