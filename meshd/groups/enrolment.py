"""What a mesh keeps of one agent, in one record: what it can do, what is known of it, and the book of its slots.

Invariant: `candidate.taken` is what the book says, so taking a slot and counting the share are one write, as are giving
it back and recording how the work ended. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.errors import FencedError
from meshd.groups import outcomes
from meshd.groups.model import Announcement, Candidate
from meshd.groups.outcomes import Outcome
from meshd.groups.shares import invited
from meshd.groups.skills import declared_anew
from meshd.groups.slots import Confirm, Release, SlotBook, Take, confirm, held, release, settle, take


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """One agent, as its record keeps it."""

    candidate: Candidate
    book: SlotBook


def enrolled(before: Enrolment | None, declared: Candidate) -> Enrolment:
    """Return the agent as it declares itself now, with all that was recorded of it and every slot it holds.

    Raises:
        FencedError: a later life of the agent is entered.
    """
    if before is None:
        return Enrolment(candidate=declared, book=SlotBook(agent=declared.agent, slots=declared.slots))
    known = before.candidate
    if known.incarnation > declared.incarnation:
        raise FencedError(f"agent {declared.agent}", token=declared.incarnation, current=known.incarnation)
    skills = {
        name: declared_anew(known.skills[name], skill) if name in known.skills else skill
        for name, skill in declared.skills.items()
    }
    candidate = replace(
        declared,
        skills=skills,
        reputation=known.reputation,
        given=known.given,
        given_ms=known.given_ms,
        counted=known.counted,
    )
    return _of(candidate, replace(before.book, slots=declared.slots))


def taken(enrolment: Enrolment, wanted: Take, *, now_ms: int) -> Enrolment | None:
    """Return the agent with the slot held, and the invitation counted once; `None` when no slot can be had."""
    book = take(enrolment.book, wanted, now_ms=now_ms)
    if book is None or book is enrolment.book:
        return None if book is None else enrolment
    is_new = held(enrolment.book, wanted) is None
    candidate = invited(enrolment.candidate, at_ms=now_ms) if is_new else enrolment.candidate
    return _of(candidate, book)


def confirmed(enrolment: Enrolment, wanted: Confirm) -> Enrolment:
    """Return the agent with the hold as a membership; unchanged if it has no such hold."""
    return _with(enrolment, confirm(enrolment.book, wanted))


def released(enrolment: Enrolment, wanted: Release, *, ended: Outcome | None = None) -> Enrolment:
    """Return the agent with the slot free and how the work ended recorded, each once."""
    candidate = enrolment.candidate if ended is None else outcomes.recorded(enrolment.candidate, ended)
    book = release(enrolment.book, wanted)
    if book is enrolment.book and candidate is enrolment.candidate:
        return enrolment
    return _of(candidate, book)


def settled(
    enrolment: Enrolment, seen: Mapping[str, Announcement | None], *, now_ms: int
) -> tuple[Enrolment, Sequence[str]]:
    """Return the agent with its holds judged by announcements read after it, and those to be ticked first."""
    book, first = settle(enrolment.book, seen, now_ms=now_ms)
    return _with(enrolment, book), first


def _with(enrolment: Enrolment, book: SlotBook) -> Enrolment:
    return enrolment if book == enrolment.book else _of(enrolment.candidate, book)


def _of(candidate: Candidate, book: SlotBook) -> Enrolment:
    return Enrolment(candidate=replace(candidate, taken=book.taken), book=book)
