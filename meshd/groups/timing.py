"""What time alone does to an announcement, and when it has to be looked at next.

Invariant: whoever ticks an announcement at each `next_visit` ends it by its deadline at the latest.
"""

from dataclasses import replace

from meshd.groups.ending import complete_if_done, end, overdue
from meshd.groups.forming import form_if_ready, form_partly, obstacle, start
from meshd.groups.inviting import OPEN, invite, is_worth_holding, lapse, renew
from meshd.groups.model import Announcement, AnnouncementState, PartialPolicy
from meshd.groups.steps import Rules, Step, open_needs
from meshd.groups.working import remind


def tick(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    """Return the announcement as time leaves it: over, formed, started, re-invited, or unchanged."""
    if announcement.state.is_over or announcement.state is AnnouncementState.WAITING:
        return Step(announcement=announcement)
    if now_ms >= announcement.deadline_ms:
        return overdue(announcement, now_ms=now_ms)
    if announcement.state is AnnouncementState.FORMED:
        return start(announcement, now_ms=now_ms, rules=rules)
    step = remind(announcement, now_ms=now_ms, rules=rules)
    return step.then(lambda current: _negotiated(current, now_ms=now_ms, rules=rules))


def next_visit(announcement: Announcement, *, now_ms: int, rules: Rules) -> int | None:
    """Return when the announcement is to be ticked next, at the latest; `None` once it is over, or while it waits."""
    if announcement.state.is_over or announcement.state is AnnouncementState.WAITING:
        return None
    if announcement.state is AnnouncementState.FORMED or not obstacle(announcement, now_ms=now_ms, rules=rules):
        return now_ms
    times = [announcement.deadline_ms]
    times += [
        each.starts_until_ms for each in announcement.members.values() if each.starts_until_ms and not each.started
    ]
    if announcement.state in OPEN:
        times.append(announcement.forms_until_ms)
        early = rules.hold_margin_ms if is_worth_holding(announcement) else 0
        times += [each.expires_ms - (early if each.accepted else 0) for each in announcement.invitations.values()]
        if announcement.offers and now_ms < announcement.offers_until_ms:
            times.append(announcement.offers_until_ms)
    return max(now_ms, min(times))


def _negotiated(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    if announcement.state not in OPEN:
        return Step(announcement=announcement)
    step = (
        form_if_ready(announcement, now_ms=now_ms, rules=rules)
        .then(lambda current: renew(current, now_ms=now_ms, rules=rules))
        .then(lambda current: lapse(current, now_ms=now_ms))
    )
    if step.announcement.state not in OPEN:
        return step
    if now_ms >= announcement.forms_until_ms:
        return step.then(lambda current: _timed_out(current, now_ms=now_ms, rules=rules))
    if now_ms >= announcement.offers_until_ms:
        return step.then(lambda current: invite(current, now_ms=now_ms, rules=rules))
    return step


def _timed_out(announcement: Announcement, *, now_ms: int, rules: Rules) -> Step:
    if announcement.partial is PartialPolicy.EXTEND and announcement.forms_until_ms < announcement.deadline_ms:
        extended = replace(announcement, forms_until_ms=announcement.deadline_ms)
        return invite(extended, now_ms=now_ms, rules=rules)
    if announcement.partial is PartialPolicy.START:
        step = form_partly(announcement, now_ms=now_ms, rules=rules)
        if step.announcement is not announcement:
            return step.then(lambda current: complete_if_done(current, now_ms=now_ms))
    missing = ", ".join(need.name for need in open_needs(announcement, accepted_only=True))
    reason = f"no group was formed in time; not covered: {missing}"
    return end(announcement, AnnouncementState.FAILED, now_ms=now_ms, reason=reason)
