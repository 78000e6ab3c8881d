"""Announcements that wait for others, and parts of a whole: exact."""

from collections.abc import Sequence

import pytest

from meshd.errors import FencedError, InvalidTransitionError
from meshd.groups.happenings import GroupFormed, OthersSeen, TaskAnnounced, TaskCancelled
from meshd.groups.model import AnnouncementState, Candidate, GroupMessage
from meshd.groups.obstacles import ObstacleKind, UnblockKind, unblocking, why_not
from meshd.groups.phases import others_of
from meshd.groups.protocol import next_visit, outstanding
from tests.groups.play import BEGIN_MS, Play, offered

COMPLETED, FAILED, CANCELLED = AnnouncementState.COMPLETED, AnnouncementState.FAILED, AnnouncementState.CANCELLED
RUNNING = AnnouncementState.RUNNING


def seen(**states: AnnouncementState | None) -> OthersSeen:
    return OthersSeen(states=states)


def waiting(*others: str) -> Play:
    return Play("x", depends_on=others or ("a", "b"))


def test_what_depends_on_others_waits_and_takes_no_offers() -> None:
    play = waiting()
    assert play.stands(AnnouncementState.WAITING)
    play.invite(offered("w", "x"))
    assert play.stands(AnnouncementState.WAITING)
    assert not play.now.offers
    assert next_visit(play.now, now_ms=play.now_ms, rules=play.rules) is None


def test_nobody_is_told_of_what_waits() -> None:
    play = waiting()
    with pytest.raises(InvalidTransitionError):
        play.do(TaskAnnounced(agents=["w"]))
    with pytest.raises(InvalidTransitionError):
        play.do(GroupFormed())
    with pytest.raises((FencedError, KeyError)):
        play.accept("w")
    assert outstanding(play.now, now_ms=play.now_ms).messages == ()


def test_it_is_announced_when_the_last_has_completed() -> None:
    play = waiting()
    play.do(seen(a=COMPLETED, b=RUNNING))
    assert play.stands(AnnouncementState.WAITING)
    assert play.now.awaits == ("b",)
    play.do(seen(b=COMPLETED))
    assert play.stands(AnnouncementState.ANNOUNCED)
    assert play.now.depends_on == ("a", "b")
    assert others_of(play.now) == ()
    play.run(offered("w", "x"))
    assert play.stands(RUNNING)


def test_what_completed_counts_also_when_it_is_forgotten_later() -> None:
    play = waiting()
    play.do(seen(a=COMPLETED))
    play.do(seen(a=None, b=COMPLETED))
    assert play.stands(AnnouncementState.ANNOUNCED)


def test_its_times_count_from_when_it_is_released() -> None:
    fresh, play = Play("x"), waiting("a")
    play.now_ms += 10_000_000
    play.do(seen(a=COMPLETED))
    for name in ("announced_ms", "offers_until_ms", "forms_until_ms", "deadline_ms"):
        assert getattr(play.now, name) - play.now_ms == getattr(fresh.now, name) - BEGIN_MS


def test_while_it_waits_it_has_no_deadline() -> None:
    play = waiting("a")
    play.wait(10_000_000)
    assert play.stands(AnnouncementState.WAITING)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (FAILED, "it waited for b, which is failed"),
        (CANCELLED, "it waited for b, which is cancelled"),
        (None, "it waited for b, which is not kept (any more)"),
    ],
)
def test_it_fails_when_one_of_them_can_complete_no_more(state: AnnouncementState | None, why: str) -> None:
    play = waiting()
    play.do(seen(a=RUNNING, b=state))
    assert play.stands(FAILED)
    assert play.now.reason == why
    assert play.told(GroupMessage.TASK_FAILED) == ["boss"]


@pytest.mark.parametrize("states", [{}, {"a": RUNNING}, {"a": AnnouncementState.WAITING, "c": None}])
def test_what_says_nothing_changes_nothing(states: dict[str, AnnouncementState | None]) -> None:
    play = waiting()
    before = play.now
    play.do(OthersSeen(states=states))
    assert play.now is before


def test_what_waits_can_be_cancelled() -> None:
    play = waiting()
    play.do(TaskCancelled(by="boss"))
    assert play.stands(CANCELLED)
    assert others_of(play.now) == ()


@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
def test_a_part_ends_with_its_whole_and_its_slots_are_free(state: AnnouncementState) -> None:
    play = Play("x", parent="p")
    play.run(offered("w", "x"))
    assert play.taken() == {"w": 1}
    play.do(seen(p=state))
    assert play.stands(CANCELLED)
    assert play.now.reason == f"p, which it is a part of, is {state}"
    assert play.taken() == {}
    assert play.told(GroupMessage.TASK_CANCEL) == ["boss", "w"]


def test_a_part_ends_when_its_whole_is_forgotten() -> None:
    play = Play("x", parent="p")
    play.do(seen(p=None))
    assert play.stands(CANCELLED)
    assert play.now.reason == "p, which it is a part of, is not kept (any more)"


def test_a_part_goes_on_while_its_whole_does() -> None:
    play = Play("x", parent="p")
    play.do(seen(p=RUNNING))
    assert play.stands(AnnouncementState.ANNOUNCED)
    assert others_of(play.now) == ("p",)


def test_a_part_that_waits_ends_with_its_whole() -> None:
    play = Play("x", parent="p", depends_on=("a",))
    assert others_of(play.now) == ("a", "p")
    play.do(seen(a=COMPLETED, p=FAILED))
    assert play.stands(CANCELLED)


@pytest.mark.parametrize("others", [("a",), ()])
def test_what_is_over_stays(others: Sequence[str]) -> None:
    play = Play("x", parent="p", depends_on=tuple(others))
    play.do(TaskCancelled(by="boss"))
    before = play.now
    play.do(seen(a=FAILED, p=COMPLETED))
    assert play.now is before


def test_it_is_explained_what_it_waits_for() -> None:
    play = waiting()
    (obstacle,) = [
        each for each in why_not(Candidate(agent="w"), play.now, play.now_ms) if each.kind is ObstacleKind.WAITING
    ]
    assert obstacle.detail == "it waits for a, b"
    (unblock,) = unblocking(play.now, [], play.now_ms)
    assert (unblock.kind, unblock.detail) == (UnblockKind.OTHER_WORK, "that a, b completes")
