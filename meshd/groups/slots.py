"""The slots of one agent, as its own record keeps them: who may take one, and when it is free again.

Invariant: an agent never has more holds than slots, and a hold stays in the book at least as long as an announcement's
record names it. No write spans two records, so the second half rests on an order that every process keeps:

1. An announcement names a round before anybody takes a slot for it, and a round is never used twice.
2. The agent accepts after it has read its hold in the book: first the book, then the announcement, then the write.
3. A hold is removed only by who read an announcement that had reached its round and does not name it (any more). Time
   alone removes nothing: an invitation that is over is first struck from the announcement's record. Whoever would still
   form with it read an older revision, and its write is refused.

So whatever forms, forms with slots that are held. See ADR 0027.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from meshd.groups.model import Announcement

DEFAULT_SLOTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One slot in use."""

    announcement: str
    round: int
    incarnation: int
    expires_ms: int | None
    """When to look whether it is still wanted; `None`: a membership, until the group ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotBook:
    """All slots of one agent."""

    agent: str
    slots: int = DEFAULT_SLOTS
    """How many it has; lowering the number takes nothing away from those that hold one."""
    holds: Mapping[str, Hold] = field(default_factory=dict[str, Hold])
    """By announcement."""

    @property
    def taken(self) -> int:
        return len(self.holds)

    @property
    def free(self) -> int:
        return max(0, self.slots - len(self.holds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Hold a slot, or hold it longer."""

    agent: str
    announcement: str
    round: int
    incarnation: int
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The hold is a membership now."""

    agent: str
    announcement: str
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The slot is free; to be done only after the announcement's record was changed so."""

    agent: str
    announcement: str
    round: int


SlotChange = Take | Confirm | Release


class Judgment(StrEnum):
    """What becomes of a hold."""

    KEEP = "keep"
    CONFIRM = "confirm"
    """The group was formed; whoever formed it did not get as far as the book."""
    REMOVE = "remove"
    STRIKE_FIRST = "strike_first"
    """Its time is over, but the announcement still names it: that record is changed first (a tick does it)."""


def change(book: SlotBook, wanted: SlotChange, *, now_ms: int) -> SlotBook | None:
    """Return the book after a change, the same book when it was made already; `None` if a slot cannot be had."""
    match wanted:
        case Take():
            return take(book, wanted, now_ms=now_ms)
        case Confirm():
            return confirm(book, wanted)
        case Release():
            return release(book, wanted)
        case _:
            assert_never(wanted)


def take(book: SlotBook, wanted: Take, *, now_ms: int) -> SlotBook | None:
    """Return the book with the slot held at least until `wanted.expires_ms`.

    `None` when no slot is free, when the invitation's time is over, or when a later round has the slot. A hold of an
    earlier round of the same announcement is over and gives its slot to this one.
    """
    current = book.holds.get(wanted.announcement)
    if current is not None and current.round == wanted.round:
        if current.expires_ms is None or current.expires_ms >= wanted.expires_ms:
            return book
        return _with(book, replace(current, expires_ms=wanted.expires_ms))
    if wanted.expires_ms <= now_ms or (current is not None and current.round > wanted.round):
        return None
    if current is None and book.free == 0:
        return None
    hold = Hold(
        announcement=wanted.announcement,
        round=wanted.round,
        incarnation=wanted.incarnation,
        expires_ms=wanted.expires_ms,
    )
    return _with(book, hold)


def confirm(book: SlotBook, wanted: Confirm) -> SlotBook:
    """Return the book with the hold as a membership; unchanged if it has no such hold, since the group has ended."""
    current = book.holds.get(wanted.announcement)
    if current is None or current.round != wanted.round or current.expires_ms is None:
        return book
    return _with(book, replace(current, expires_ms=None))


def release(book: SlotBook, wanted: Release) -> SlotBook:
    """Return the book without the hold; unchanged if it is gone, or belongs to a later round."""
    current = book.holds.get(wanted.announcement)
    if current is None or current.round > wanted.round:
        return book
    return _without(book, wanted.announcement)


def held(book: SlotBook, wanted: Take) -> Hold | None:
    """Return the hold of this round: what an agent shows when it accepts."""
    current = book.holds.get(wanted.announcement)
    return current if current is not None and current.round == wanted.round else None


def judge(hold: Hold, announcement: Announcement | None, *, agent: str, now_ms: int) -> Judgment:
    """Return what becomes of an agent's hold, given its announcement; `None`: read after the book, it was no more.

    An announcement that was read before it reached the hold's round cannot judge it: the hold stays.
    """
    if announcement is None or announcement.state.is_over:
        return Judgment.REMOVE
    if announcement.round < hold.round:
        return Judgment.KEEP
    member = announcement.members.get(agent)
    if member is not None and member.round == hold.round:
        return Judgment.KEEP if hold.expires_ms is None else Judgment.CONFIRM
    invitation = announcement.invitations.get(agent)
    if invitation is None or invitation.round != hold.round:
        return Judgment.REMOVE
    return Judgment.KEEP if now_ms < invitation.expires_ms else Judgment.STRIKE_FIRST


def due(book: SlotBook, *, now_ms: int) -> tuple[str, ...]:
    """Return the announcements whose holds are to be judged, since their time is over."""
    return tuple(
        sorted(name for name, hold in book.holds.items() if hold.expires_ms is not None and hold.expires_ms <= now_ms)
    )


def settle(book: SlotBook, seen: Mapping[str, Announcement | None], *, now_ms: int) -> tuple[SlotBook, tuple[str, ...]]:
    """Return the book with every hold judged that an announcement was read for, and those to be ticked first.

    `seen` was read after the book; `None` stands for an announcement that is no more.
    """
    settled, first = book, list[str]()
    for name in sorted(seen.keys() & book.holds.keys()):
        hold, announcement = book.holds[name], seen[name]
        match judge(hold, announcement, agent=book.agent, now_ms=now_ms):
            case Judgment.REMOVE:
                settled = _without(settled, name)
            case Judgment.CONFIRM:
                settled = _with(settled, replace(hold, expires_ms=None))
            case Judgment.STRIKE_FIRST:
                first.append(name)
            case Judgment.KEEP:
                settled = _with(settled, _looked_at(hold, announcement, agent=book.agent))
    return settled, tuple(first)


def _looked_at(hold: Hold, announcement: Announcement | None, *, agent: str) -> Hold:
    invitation = announcement.invitations.get(agent) if announcement is not None else None
    if invitation is None or hold.expires_ms is None or invitation.round != hold.round:
        return hold
    return replace(hold, expires_ms=max(hold.expires_ms, invitation.expires_ms))


def _with(book: SlotBook, hold: Hold) -> SlotBook:
    return replace(book, holds={**book.holds, hold.announcement: hold})


def _without(book: SlotBook, announcement: str) -> SlotBook:
    return replace(book, holds={name: hold for name, hold in book.holds.items() if name != announcement})
