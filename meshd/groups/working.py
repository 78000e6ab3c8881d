"""What members say while they work, and what becomes of a group that loses one.

Invariant: only a member, in the life in which it joined, with a token from its own to the group's, changes anything. A
result that is there stays, whoever is lost afterwards.
"""

from dataclasses import replace
from functools import partial

from meshd.errors import FencedError, InvalidArgumentError, InvalidTransitionError
from meshd.groups.ending import complete_if_done, end
from meshd.groups.forming import say_start
from meshd.groups.happenings import AgentDied, MemberEvent, TaskCompleted, TaskFailed, TaskUpdated
from meshd.groups.inviting import invite, withdraw
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, Member
from meshd.groups.steps import Rules, Step, bury, mark, refuse, releases, say, without


def update(announcement: Announcement, event: TaskUpdated, *, now_ms: int) -> Step:
    """Return the announcement with a member's progress, which never goes back; the initiator is told.

    Raises:
        FencedError: it is not, or no longer, a member of this life and token.
        InvalidArgumentError: the progress is not 0 to 1.
        InvalidTransitionError: the announcement is over.
    """
    if not 0 <= event.progress <= 1:
        raise InvalidArgumentError(f"progress {event.progress} of {event.agent} is not 0 to 1")
    member = _fenced(announcement, event, said=GroupMessage.TASK_UPDATE)
    is_news = not member.started or event.progress > member.progress
    if member.is_done or event.progress < member.progress or not (is_news or event.note != member.note):
        return Step(announcement=announcement)
    heard = replace(member, started=True, progress=event.progress, note=event.note, updated_ms=now_ms)
    return Step(
        announcement=_with(announcement, heard),
        messages=say(
            announcement,
            GroupMessage.TASK_UPDATE,
            [announcement.initiator],
            stamp=f"{mark(event.agent)}.{now_ms}.{round(event.progress * 1_000)}",
            agent=event.agent,
            progress=event.progress,
            note=event.note,
        ),
    )


def complete(announcement: Announcement, event: TaskCompleted, *, now_ms: int) -> Step:
    """Return the announcement with a member's result, completed if it was the last. The first result counts.

    Raises:
        FencedError: it is not, or no longer, a member of this life and token.
        InvalidTransitionError: the announcement failed or was cancelled.
    """
    member = announcement.members.get(event.agent)
    if announcement.state is AnnouncementState.COMPLETED and member is not None and member.is_done:
        return Step(announcement=announcement)
    member = _fenced(announcement, event, said=GroupMessage.TASK_COMPLETE)
    if member.is_done:
        return Step(announcement=announcement)
    done = replace(member, started=True, is_done=True, progress=1.0, updated_ms=now_ms)
    current = _with(announcement, done)
    results = {**announcement.results, **dict.fromkeys(member.roles, event.result)}
    return complete_if_done(replace(current, results=results), now_ms=now_ms)


def fail(announcement: Announcement, event: TaskFailed, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement without the member, which is not asked again, and its gap to be filled.

    Raises:
        FencedError: it is not, or no longer, a member of this life and token.
        InvalidArgumentError: there is no reason.
        InvalidTransitionError: the announcement is over.
    """
    if not event.reason.strip():
        raise InvalidArgumentError(f"{event.agent} fails {announcement.id} without a reason: say why")
    member = _fenced(announcement, event, said=GroupMessage.TASK_FAILED)
    if member.is_done:
        return Step(announcement=announcement)
    return lose(refuse(announcement, event.agent, event.reason), member, event.reason, now_ms=now_ms, rules=rules)


def die(announcement: Announcement, event: AgentDied, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement without this life of the agent, wherever it had a part, and the gap to be filled."""
    if announcement.state.is_over or announcement.dead.get(event.agent, -1) >= event.incarnation:
        return Step(announcement=announcement)
    invitation, member = announcement.invitations.get(event.agent), announcement.members.get(event.agent)
    if event.agent not in announcement.offers and invitation is None and member is None:
        return Step(announcement=announcement)
    current = bury(announcement, event.agent, event.incarnation)
    if member is not None and member.incarnation <= event.incarnation and not member.is_done:
        return lose(current, member, "died", now_ms=now_ms, rules=rules)
    if invitation is not None and invitation.incarnation <= event.incarnation:
        return withdraw(current, [event.agent]).then(lambda after: invite(after, now_ms=now_ms, rules=rules))
    return Step(announcement=current)


def remind(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement with members that are late to start told once more, and those late twice lost."""
    step = Step(announcement=announcement)
    for _, member in sorted(announcement.members.items()):
        is_late = not member.started and 0 < member.starts_until_ms <= now_ms
        if is_late and not step.announcement.state.is_over:
            step = step.then(partial(_late, member=member, now_ms=now_ms, rules=rules))
    return step


def lose(announcement: Announcement, member: Member, reason: str, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement without the member, its slot free, and the best offers for the gap invited.

    The others work on. After `rules.max_reformations` the announcement fails instead.
    """
    is_reforming = announcement.state is AnnouncementState.REFORMING
    lost = replace(
        announcement,
        state=AnnouncementState.REFORMING,
        members=without(announcement.members, member.agent),
        reformations=announcement.reformations + (0 if is_reforming else 1),
        forms_until_ms=announcement.forms_until_ms
        if is_reforming
        else min(now_ms + rules.formation_ms, announcement.deadline_ms),
        offers_until_ms=now_ms,
    )
    freed = Step(
        announcement=lost,
        slots=releases(announcement, [member]),
        messages=(
            *say(lost, GroupMessage.TASK_CANCEL, [member.agent], stamp=f"lost.{member.round}", reason=reason),
            *say(
                lost,
                GroupMessage.TASK_UPDATE,
                [announcement.initiator],
                stamp=f"lost.{mark(member.agent)}.{member.round}",
                agent=member.agent,
                lost=reason,
            ),
        ),
    )
    if lost.reformations > rules.max_reformations:
        why = f"lost a member {lost.reformations} times, last {member.agent}: {reason}"
        return freed.then(lambda current: end(current, AnnouncementState.FAILED, now_ms=now_ms, reason=why))
    return freed.then(lambda current: invite(current, now_ms=now_ms, rules=rules))


def stalled(announcement: Announcement, *, now_ms: int, after_ms: int) -> tuple[Member, ...]:
    """Return the members that are at work and have not been heard of for so long."""
    if announcement.state.is_over:
        return ()
    return tuple(
        member
        for _, member in sorted(announcement.members.items())
        if member.started and not member.is_done and now_ms - member.updated_ms >= after_ms
    )


def progress(announcement: Announcement) -> float:
    """Return how much of the work is done, 0 to 1: the mean over roles."""
    made = dict.fromkeys((need.name for need in announcement.needs), 0.0)
    for member in announcement.members.values():
        made.update(dict.fromkeys(member.roles, member.progress))
    made.update(dict.fromkeys(announcement.results, 1.0))
    return sum(made.values()) / len(made) if made else 0.0


def _late(announcement: Announcement, member: Member, *, now_ms: int, rules: Rules) -> Step:
    if member.is_reminded:
        why = "did not start"
        return lose(refuse(announcement, member.agent, why), member, why, now_ms=now_ms, rules=rules)
    reminded = replace(member, is_reminded=True, starts_until_ms=now_ms + rules.start_ms)
    return Step(announcement=_with(announcement, reminded), messages=say_start(announcement, reminded))


def _fenced(announcement: Announcement, event: MemberEvent, *, said: GroupMessage) -> Member:
    """Return the member who says this."""
    if announcement.state.is_over:
        raise InvalidTransitionError(announcement.id, state=announcement.state, event=said)
    member = announcement.members.get(event.agent)
    subject = f"{event.agent} in the group of {announcement.id}"
    if member is None or event.token > announcement.token or event.epoch > announcement.epoch:
        raise FencedError(subject, token=event.token, current=0)
    if event.incarnation != member.incarnation:
        raise FencedError(f"life of {event.agent}", token=event.incarnation, current=member.incarnation)
    if event.token < member.token or event.epoch < member.epoch:
        raise FencedError(subject, token=event.token, current=announcement.token)
    return member


def _with(announcement: Announcement, member: Member) -> Announcement:
    return replace(announcement, members={**announcement.members, member.agent: member})
