"""The protocol of working groups: `apply(announcement, event)` says all that an announcement may become.

    waiting ──> announced <──> negotiating ──> formed ──> running ──> completed
                                                 ↑ │         │
                                                 │ └─────────┴──> reforming ──┐
                                                 └────────────────────────────┘
    from everywhere: failed, cancelled

Guarantees: what is over stays as it is; a group is formed in one step or not at all, of agents that accepted and whose
slots are held; each formation raises epoch and token, and who is no member (any more) is refused; a repeated event
changes nothing; results stay; whoever ticks an announcement when `next_visit` says ends it by its deadline, which what
waits for others does not have yet.

Several hubs may work on one announcement: each reads it, applies an event, and writes it only if nobody else did.
"""

from collections.abc import Iterable
from functools import partial
from typing import assert_never

from meshd.groups.ending import SAID, cancel, is_overdue, overdue
from meshd.groups.forming import form, say_formed, say_start, start
from meshd.groups.happenings import (
    AgentDied,
    GroupAccepted,
    GroupEvent,
    GroupFormed,
    GroupInvited,
    GroupRejected,
    MemberEvent,
    OffersGathered,
    OthersSeen,
    SkillOffered,
    SkillQueried,
    SlotMissed,
    TaskAnnounced,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
    TaskUpdated,
    Ticked,
)
from meshd.groups.inviting import accept, invite, miss, reject, say_invited, take_of
from meshd.groups.model import Announcement, AnnouncementState
from meshd.groups.offers import announce, gather, offer, query, tell
from meshd.groups.phases import see
from meshd.groups.slots import Confirm
from meshd.groups.steps import Rules, Step, releases, say
from meshd.groups.timing import next_visit, tick
from meshd.groups.working import complete, die, fail, update

__all__ = ["Rules", "Step", "announce", "apply", "apply_all", "next_visit", "outstanding"]


def apply(announcement: Announcement, event: GroupEvent, *, now_ms: int, rules: Rules) -> Step:
    """Return what the event makes of the announcement: the same announcement if it changes nothing.

    Raises:
        FencedError: who says it has no part in this, not any more, or not in this life.
        InvalidArgumentError: what is said can never be right.
        InvalidTransitionError: the announcement is in a state in which this cannot be.
    """
    if is_overdue(announcement, now_ms=now_ms) and not isinstance(event, TaskCancelled):
        return overdue(announcement, now_ms=now_ms)
    match event:
        case TaskAnnounced() | SkillQueried() | SkillOffered() | OffersGathered():
            return _ask(announcement, event, now_ms=now_ms, rules=rules)
        case GroupInvited():
            return invite(announcement, now_ms=now_ms, rules=rules)
        case GroupAccepted() | GroupRejected() | SlotMissed():
            return _answer(announcement, event, now_ms=now_ms, rules=rules)
        case GroupFormed():
            return form(announcement, now_ms=now_ms, rules=rules)
        case TaskStarted():
            return start(announcement, now_ms=now_ms, rules=rules)
        case TaskUpdated() | TaskCompleted() | TaskFailed():
            return _work(announcement, event, now_ms=now_ms, rules=rules)
        case TaskCancelled():
            return cancel(announcement, event, now_ms=now_ms)
        case AgentDied():
            return die(announcement, event, now_ms=now_ms, rules=rules)
        case Ticked():
            return tick(announcement, now_ms=now_ms, rules=rules)
        case OthersSeen():
            return see(announcement, event, now_ms=now_ms)
        case _:
            assert_never(event)


def apply_all(announcement: Announcement, events: Iterable[GroupEvent], *, now_ms: int, rules: Rules) -> Step:
    """Return what several events make of the announcement, as one step to be written once.

    Raises:
        FencedError, InvalidArgumentError, InvalidTransitionError: one of them is refused, so none happens.
    """
    step = Step(announcement=announcement)
    for event in events:
        step = step.then(partial(apply, event=event, now_ms=now_ms, rules=rules))
    return step


def outstanding(announcement: Announcement, *, now_ms: int) -> Step:
    """Return all that the announcement, as it is, has to have done: for whoever takes over from a hub that died.

    All of it may have been done before; the same slots and the same message ids make that harmless.
    """
    if announcement.state.is_over:
        told = (announcement.initiator, *announcement.members)
        said = SAID[announcement.state]
        return Step(
            announcement=announcement,
            slots=releases(announcement, announcement.members.values()),
            messages=say(
                announcement, said, told, stamp="end", reason=announcement.reason, partial=announcement.is_partial
            ),
        )
    live = [each for _, each in sorted(announcement.invitations.items()) if now_ms < each.expires_ms]
    members = [member for _, member in sorted(announcement.members.items())]
    untold = [member for member in members if member.starts_until_ms and not member.started]
    return Step(
        announcement=announcement,
        slots=(
            *(take_of(announcement, each) for each in live),
            *(Confirm(agent=each.agent, announcement=announcement.id, round=each.round) for each in members),
        ),
        messages=(
            *(one for each in live if not each.accepted for one in say_invited(announcement, each)),
            *(say_formed(announcement) if announcement.state is AnnouncementState.FORMED else ()),
            *(one for each in untold for one in say_start(announcement, each)),
        ),
    )


def _ask(
    announcement: Announcement,
    event: TaskAnnounced | SkillQueried | SkillOffered | OffersGathered,
    *,
    now_ms: int,
    rules: Rules,
) -> Step:
    match event:
        case TaskAnnounced():
            return tell(announcement, event)
        case SkillQueried():
            return query(announcement, event, now_ms=now_ms, rules=rules)
        case SkillOffered():
            return offer(announcement, event, now_ms=now_ms, rules=rules)
        case OffersGathered():
            return gather(announcement, event, now_ms=now_ms, rules=rules)


def _answer(
    announcement: Announcement, event: GroupAccepted | GroupRejected | SlotMissed, *, now_ms: int, rules: Rules
) -> Step:
    match event:
        case GroupAccepted():
            return accept(announcement, event, now_ms=now_ms, rules=rules)
        case GroupRejected():
            return reject(announcement, event, now_ms=now_ms, rules=rules)
        case SlotMissed():
            return miss(announcement, event, now_ms=now_ms, rules=rules)


def _work(announcement: Announcement, event: MemberEvent, *, now_ms: int, rules: Rules) -> Step:
    match event:
        case TaskUpdated():
            return update(announcement, event, now_ms=now_ms)
        case TaskCompleted():
            return complete(announcement, event, now_ms=now_ms)
        case TaskFailed():
            return fail(announcement, event, now_ms=now_ms, rules=rules)
