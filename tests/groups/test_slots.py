"""One agent's book of slots: never more holds than slots, and none removed that a group may be formed with."""

from dataclasses import replace

import pytest

from meshd.groups.happenings import Ticked
from meshd.groups.model import Announcement
from meshd.groups.slots import (
    Confirm,
    Hold,
    Judgment,
    Release,
    SlotBook,
    Take,
    change,
    confirm,
    due,
    held,
    judge,
    release,
    settle,
    take,
)
from tests.groups.play import Play, offered


def wanted(announcement: str = "t1", round: int = 1, expires_ms: int = 5_000) -> Take:  # noqa: A002 - a round is one
    return Take(agent="a", announcement=announcement, round=round, incarnation=1, expires_ms=expires_ms)


def taken(book: SlotBook, each: Take, *, now_ms: int = 0) -> SlotBook:
    after = take(book, each, now_ms=now_ms)
    assert after is not None
    return after


def test_a_slot_is_taken_once_however_often_it_is_asked_for() -> None:
    book = taken(SlotBook(agent="a", slots=1), wanted())
    assert (book.taken, book.free) == (1, 0)
    assert take(book, wanted(), now_ms=9_000) is book
    assert taken(book, wanted(expires_ms=7_000)).holds["t1"].expires_ms == 7_000
    assert take(book, wanted(expires_ms=3_000), now_ms=0) is book


def test_the_slot_after_the_last_is_refused() -> None:
    book = SlotBook(agent="a", slots=5)
    for number in range(5):
        book = taken(book, wanted(f"t{number}"))
    assert take(book, wanted("t9"), now_ms=0) is None
    assert take(replace(book, slots=2), wanted("t1"), now_ms=0) is not None
    assert replace(book, slots=2).free == 0


def test_a_hold_is_not_taken_when_its_time_is_over() -> None:
    assert take(SlotBook(agent="a"), wanted(expires_ms=5_000), now_ms=5_000) is None


def test_a_later_round_takes_over_the_slot_and_an_earlier_one_never() -> None:
    book = taken(SlotBook(agent="a", slots=1), wanted(round=3))
    later = taken(book, wanted(round=4))
    assert (later.taken, later.holds["t1"].round) == (1, 4)
    assert take(later, wanted(round=3), now_ms=0) is None
    assert held(later, wanted(round=3)) is None
    assert held(later, wanted(round=4)) == later.holds["t1"]


def test_a_membership_lasts_until_it_is_released() -> None:
    book = taken(SlotBook(agent="a"), wanted(round=2))
    assert confirm(book, Confirm(agent="a", announcement="t1", round=1)) is book
    member = confirm(book, Confirm(agent="a", announcement="t1", round=2))
    assert member.holds["t1"].expires_ms is None
    assert due(member, now_ms=10**12) == ()
    assert take(member, wanted(round=2), now_ms=0) is member
    assert release(member, Release(agent="a", announcement="t1", round=1)) is member
    assert release(member, Release(agent="a", announcement="t1", round=2)).holds == {}


@pytest.mark.parametrize(
    "each", [Confirm(agent="a", announcement="t1", round=1), Release(agent="a", announcement="t1", round=1)]
)
def test_a_change_of_what_is_not_there_changes_nothing(each: Confirm | Release) -> None:
    book = SlotBook(agent="a")
    assert change(book, each, now_ms=0) is book


def judged(announcement: Announcement | None, hold: Hold, *, now_ms: int) -> Judgment:
    return judge(hold, announcement, agent="a", now_ms=now_ms)


def test_an_expired_hold_goes_only_after_its_announcement_was_changed() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    book, now_ms = play.book("a"), play.now_ms + 5_000
    assert due(book, now_ms=now_ms) == ("t1",)
    assert settle(book, {"t1": play.now}, now_ms=now_ms) == (book, ("t1",))
    accepted = play.accepted("a")
    stale = play.now
    play.wait(5_000)
    settled, first = settle(book, {"t1": replace(play.now, invitations={})}, now_ms=now_ms)
    assert (settled.holds, first) == ({}, ())
    play.now, play.now_ms = stale, play.now_ms - 5_000
    play.do(accepted)
    assert play.now.members.keys() == {"a"}, "formed from the older revision: a store refuses that write"


def test_a_hold_is_judged_by_what_its_announcement_says_of_it() -> None:
    play = Play("read")
    before = play.now
    play.invite(offered("a", "read"))
    hold, now_ms = play.book("a").holds["t1"], play.now_ms
    assert judged(None, hold, now_ms=now_ms) is Judgment.REMOVE
    assert judged(before, hold, now_ms=now_ms) is Judgment.KEEP
    assert judged(play.now, hold, now_ms=now_ms) is Judgment.KEEP
    assert judged(play.now, replace(hold, round=0), now_ms=now_ms) is Judgment.REMOVE
    assert judge(hold, play.now, agent="b", now_ms=now_ms) is Judgment.REMOVE
    play.accept("a")
    assert judged(play.now, hold, now_ms=now_ms + 10**6) is Judgment.CONFIRM
    assert judged(play.now, play.book("a").holds["t1"], now_ms=now_ms) is Judgment.KEEP
    play.start()
    play.complete("a")
    assert judged(play.now, hold, now_ms=now_ms) is Judgment.REMOVE


def test_a_hold_taken_for_an_announcement_that_ended_meanwhile_is_found_and_freed() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    late = play.book("a")
    play.to_the_end()
    assert settle(late, {"t1": play.now}, now_ms=play.now_ms)[0].holds == {}


def test_settling_confirms_and_prolongs_what_a_dead_hub_did_not() -> None:
    play = Play("read", "write")
    play.invite(offered("a", "read"), offered("b", "write"))
    short = play.book("a")
    play.accept("a")
    play.now_ms += 4_600
    play.accept("b")
    now_ms = play.now_ms + 1_000
    longer, first = settle(short, {"t1": play.now}, now_ms=now_ms)
    assert (longer.holds["t1"].expires_ms, first) == (play.now.invitations["a"].expires_ms, ())
    play.do(Ticked())
    assert settle(short, {"t1": play.now}, now_ms=now_ms)[0].holds["t1"].expires_ms is None
