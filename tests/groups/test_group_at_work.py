"""A group at work: what members say, what is lost with one, and how it ends."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from meshd.errors import FencedError, InvalidArgumentError, InvalidTransitionError
from meshd.groups.happenings import (
    AgentDied,
    GroupInvited,
    SkillQueried,
    TaskAnnounced,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskUpdated,
    Ticked,
)
from meshd.groups.model import AnnouncementState, GroupMessage, PartialPolicy
from meshd.groups.protocol import apply, apply_all, next_visit
from meshd.groups.working import progress, stalled
from tests.groups.play import RULES, Play, offered

STATE = AnnouncementState


def working(**more: Any) -> Play:
    play = Play("read", "write", **more)
    play.run(offered("a", "read"), offered("b", "write"), offered("c", "read", "write", score=0.2))
    return play


def test_progress_is_kept_never_goes_back_and_is_told() -> None:
    play = working()
    play.update("a", 0.6, "half")
    before = play.now
    play.update("a", 0.2, "late")
    play.update("a", 0.6, "half")
    assert play.now is before
    assert progress(play.now) == pytest.approx(0.3)
    assert play.told(GroupMessage.TASK_UPDATE) == ["boss"]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidArgumentError):
            play.update("a", wrong)


def test_a_member_that_is_not_heard_of_is_noticed() -> None:
    play = working()
    play.update("a")
    play.now_ms += 9_000
    play.update("b")
    assert [member.agent for member in stalled(play.now, now_ms=play.now_ms, after_ms=9_000)] == ["a"]


def test_the_last_result_completes_the_work_and_frees_everybody() -> None:
    play = working()
    play.complete("a", "text")
    assert play.stands(STATE.RUNNING)
    play.complete("a", "other text")
    step = play.complete("b", 7)
    assert (play.now.state, play.now.is_partial) == (STATE.COMPLETED, False)
    assert play.now.results == {"read": "text", "write": 7}
    assert play.taken() == {}
    assert [message.to for message in step.messages] == ["a", "b", "boss"]
    over = play.now
    play.complete("b", 8)
    assert play.now is over
    with pytest.raises(InvalidTransitionError):
        play.do(TaskCancelled(by="boss"))
    with pytest.raises(InvalidTransitionError):
        play.fail("a")


def test_only_a_member_of_this_life_and_token_is_heard() -> None:
    play = working()
    shown = play.shown("a")
    strange: tuple[dict[str, Any], ...] = (
        {"agent": "z"},
        {"incarnation": 2},
        {"token": shown["token"] - 1},
        {"token": shown["token"] + 1},
        {"epoch": 0},
        {"epoch": 2},
    )
    for wrong in strange:
        for event in (
            TaskUpdated(**{**shown, **wrong}, progress=0.5),
            TaskCompleted(**{**shown, **wrong}),
            TaskFailed(**{**shown, **wrong}, reason="x"),
        ):
            with pytest.raises(FencedError):
                apply(play.now, event, now_ms=play.now_ms, rules=RULES)


def test_a_lost_member_is_replaced_and_fenced_and_the_results_of_others_stay() -> None:
    play = working()
    play.complete("a", "text")
    old = play.shown("b")
    step = play.fail("b", "disk full")
    assert (play.now.state, play.now.reformations) == (STATE.REFORMING, 1)
    assert play.now.refused == {"b": "disk full"}
    assert play.now.results == {"read": "text"}
    assert [message.to for message in step.messages if message.type is GroupMessage.GROUP_INVITE] == ["c"]
    assert play.now.invitations["c"].roles == ("write",)
    assert play.taken() == {"a": 1, "c": 1}
    with pytest.raises(FencedError):
        play.do(TaskCompleted(**old, result="too late"))
    play.accept("c")
    assert (play.now.state, play.now.epoch) == (STATE.FORMED, 2)
    assert play.now.token > old["token"]
    play.start()
    assert play.told(GroupMessage.TASK_START) == ["a", "b", "c"]
    play.complete("c", "done")
    assert (play.now.state, play.now.results) == (STATE.COMPLETED, {"read": "text", "write": "done"})


def test_a_survivor_works_on_with_the_token_it_has_or_the_new_one() -> None:
    play = working()
    old = play.shown("a")
    play.do(AgentDied(agent="b", incarnation=1))
    play.do(TaskUpdated(**old, progress=0.4))
    play.accept("c")
    play.start()
    new: dict[str, Any] = {**old, "epoch": play.now.epoch, "token": play.now.token}
    play.do(TaskUpdated(**new, progress=0.5))
    play.do(TaskCompleted(**old, result=1))
    assert play.now.members["a"].is_done


def test_a_death_of_who_is_done_or_of_an_earlier_life_changes_no_group() -> None:
    play = working()
    play.complete("a", 1)
    play.do(AgentDied(agent="a", incarnation=1))
    play.do(AgentDied(agent="b", incarnation=0))
    assert (play.now.state, sorted(play.now.members)) == (STATE.RUNNING, ["a", "b"])
    before = play.now
    play.do(AgentDied(agent="stranger", incarnation=1))
    assert play.now is before


def test_a_dead_member_may_come_back_in_a_later_life() -> None:
    play = Play("read")
    play.run(offered("a", "read"))
    play.do(AgentDied(agent="a", incarnation=1))
    play.offer(offered("a", "read"))
    assert play.now.offers == {}
    play.offer(offered("a", "read", incarnation=2))
    play.accept("a")
    assert (play.now.state, play.now.members["a"].incarnation) == (STATE.FORMED, 2)


def test_who_accepts_and_never_starts_is_reminded_once_then_replaced() -> None:
    play = working()
    play.update("a")
    step = play.wait(5_000)
    assert [(message.type, message.to) for message in step.messages] == [(GroupMessage.TASK_START, "b")]
    assert step.messages[0] in play.said[: -len(step.messages)]
    play.wait(5_000)
    assert (play.now.state, play.now.refused) == (STATE.REFORMING, {"b": "did not start"})
    assert sorted(play.now.invitations) == ["c"]


def test_a_group_that_loses_members_a_fourth_time_fails_with_what_it_has() -> None:
    play = Play("read", "write")
    play.run(offered("a", "read"), *(offered(f"b{number}", "write") for number in range(9)))
    play.complete("a", "text")
    for time in range(1, 5):
        worker = next(agent for agent in play.now.members if agent != "a")
        play.fail(worker)
        assert play.now.reformations == time
        if time <= RULES.max_reformations:
            play.accept(*list(play.now.invitations))
            play.start()
    assert (play.now.state, play.now.results, play.taken()) == (STATE.FAILED, {"read": "text"}, {})
    assert "4 times" in play.now.reason
    assert "boss" in play.told(GroupMessage.TASK_FAILED)


def test_members_lost_one_after_the_other_are_one_reformation() -> None:
    play = working()
    play.fail("a")
    play.fail("b")
    assert (play.now.state, play.now.reformations) == (STATE.REFORMING, 1)
    assert sorted(role for each in play.now.invitations.values() for role in each.roles) == ["read", "write"]


@pytest.mark.parametrize(
    ("policy", "state"),
    [(PartialPolicy.FAIL, STATE.FAILED), (PartialPolicy.EXTEND, STATE.REFORMING), (PartialPolicy.START, STATE.FORMED)],
)
def test_a_gap_nobody_fills_is_left_to_the_policy(policy: PartialPolicy, state: AnnouncementState) -> None:
    play = Play("read", "write", partial=policy)
    play.run(offered("a", "read"), offered("b", "write"))
    play.update("a", 0.1)
    play.fail("b")
    play.wait(30_000)
    assert (play.now.state, play.now.is_partial) == (state, policy is PartialPolicy.START)
    if policy is PartialPolicy.START:
        play.start()
        play.complete("a", 1)
        assert (play.now.state, play.now.is_partial) == (STATE.COMPLETED, True)


def test_a_partial_group_whose_members_are_all_done_is_complete_when_the_time_is_over() -> None:
    play = Play("read", "write", partial=PartialPolicy.START)
    play.run(offered("a", "read"), offered("b", "write"))
    play.complete("a", 1)
    play.fail("b")
    play.wait(30_000)
    assert (play.now.state, play.now.is_partial, play.now.results) == (STATE.COMPLETED, True, {"read": 1})


@pytest.mark.parametrize("policy", PartialPolicy)
@pytest.mark.parametrize("stage", range(6))
def test_whatever_stands_still_ends_by_its_deadline(policy: PartialPolicy, stage: int) -> None:
    play = Play("read", "write", partial=policy)
    acts: tuple[Callable[[], object], ...] = (
        lambda: play.invite(offered("a", "read"), offered("b", "write"), offered("c", "read", score=0.2)),
        lambda: play.accept("a"),
        lambda: play.accept("b"),
        lambda: play.update("a"),
        lambda: play.fail("b"),
    )
    for act in acts[:stage]:
        act()
    play.to_the_end()
    assert play.now.state in (STATE.FAILED, STATE.COMPLETED)
    assert play.now.ended_ms <= play.now.deadline_ms
    assert play.taken() == {}


@pytest.mark.parametrize("stage", range(9))
def test_a_death_at_any_message_costs_the_dead_its_part_and_nobody_else(stage: int) -> None:
    play = Play("read", "write")
    acts: tuple[Callable[[], object], ...] = (
        lambda: play.do(TaskAnnounced(agents=["a", "b", "c"])),
        lambda: play.do(SkillQueried(agents=["a", "b", "c"])),
        lambda: play.offer(offered("a", "read"), offered("b", "write"), offered("c", "write", score=0.2)),
        lambda: play.do(GroupInvited()),
        lambda: play.accept("b"),
        lambda: play.accept("a"),
        play.start,
        lambda: play.update("b", 0.9),
        lambda: play.complete("b", "b's"),
    )
    for act in acts[: stage + 1]:
        act()
    play.do(AgentDied(agent="b", incarnation=1))
    if stage < 2:
        play.offer(offered("a", "read"), offered("c", "write"))
    play.wait(200)
    play.accept(*(agent for agent, each in play.now.invitations.items() if not each.accepted))
    play.wait(0)
    is_done = stage == len(acts) - 1
    assert (play.now.state, sorted(play.now.members)) == (STATE.RUNNING, ["a", "b" if is_done else "c"])
    for agent in sorted(play.now.members):
        play.complete(agent, f"{agent}'s")
    assert play.stands(STATE.COMPLETED)
    assert play.now.results == {"read": "a's", "write": "b's" if is_done else "c's"}
    assert play.taken() == {}


def test_nothing_is_done_after_the_deadline() -> None:
    play = working()
    play.complete("a", 1)
    play.now_ms = play.now.deadline_ms
    play.complete("b", 2)
    assert (play.now.state, play.now.results) == (STATE.FAILED, {"read": 1})
    assert play.taken() == {}


def test_several_events_are_one_step_or_none() -> None:
    play = working()
    done = [TaskCompleted(**play.shown(agent), result=agent) for agent in ("a", "b")]
    step = apply_all(play.now, done, now_ms=play.now_ms, rules=RULES)
    assert step.announcement.state is STATE.COMPLETED
    assert len(step.slots) == 2
    with pytest.raises(FencedError):
        apply_all(play.now, [done[0], replace(done[1], token=1)], now_ms=play.now_ms, rules=RULES)


def test_slots_return_exactly_after_a_thousand_groups() -> None:
    books = Play("read").books
    for cycle in range(1_000):
        play = Play("read", "write", id=f"t{cycle}")
        play.books = books
        play.run(offered("a", "read"), offered("b", "write"), offered("c", "read", "write", score=0.2))
        assert set(play.taken().values()) == {1}
        match cycle % 4:
            case 0:
                play.do(TaskCancelled(by="boss"))
            case 1:
                play.fail("b")
                play.accept("c")
                play.complete("a")
                play.complete("c")
            case 2:
                play.to_the_end()
            case _:
                play.complete("a")
                play.complete("b")
        assert play.now.state.is_over
        assert play.taken() == {}
        assert all(book.free == book.slots for book in books.values())


def test_the_next_visit_is_when_time_next_matters() -> None:
    play = working()
    assert next_visit(play.now, now_ms=play.now_ms, rules=RULES) == play.now_ms + 5_000
    play.update("a")
    play.update("b")
    assert next_visit(play.now, now_ms=play.now_ms, rules=RULES) == play.now.deadline_ms
    assert apply(play.now, Ticked(), now_ms=play.now_ms, rules=RULES).announcement is play.now
