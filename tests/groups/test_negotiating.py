"""From an announcement to a group: offers, invitations, answers, and the one step that forms."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from meshd.errors import FencedError, InvalidArgumentError, InvalidTransitionError
from meshd.groups.happenings import (
    AgentDied,
    GroupFormed,
    GroupInvited,
    GroupRejected,
    SkillOffered,
    SkillQueried,
    SlotMissed,
    TaskAnnounced,
    TaskCancelled,
    TaskStarted,
    Ticked,
)
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, PartialPolicy, SkillNeed
from meshd.groups.protocol import announce, apply, next_visit, outstanding
from meshd.groups.shares import is_even
from meshd.groups.slots import Confirm, SlotBook, Take, take
from meshd.groups.steps import Rules
from tests.groups.play import BEGIN_MS, RULES, Play, offered, steady

STATE = AnnouncementState


def test_an_announcement_is_written_with_its_times() -> None:
    made = Play("read", "write").now
    assert (made.state, made.announced_ms, made.offers_until_ms) == (STATE.ANNOUNCED, BEGIN_MS, BEGIN_MS + 200)
    assert (made.forms_until_ms, made.deadline_ms) == (BEGIN_MS + 30_000, BEGIN_MS + 300_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"needs": ()},
        {"needs": (SkillNeed(name="a"), SkillNeed(name="a"))},
        {"needs": (SkillNeed(name=""),)},
        {"needs": tuple(SkillNeed(name=f"s{number}") for number in range(33))},
        {"max_size": 0},
        {"max_size": 101},
        {"deadline_ms": BEGIN_MS},
        {"deadline_ms": BEGIN_MS + 31 * 86_400_000},
        {"forms_until_ms": BEGIN_MS - 1},
        {"id": "no id"},
        {"initiator": ""},
    ],
)
def test_what_can_never_be_is_refused(wrong: dict[str, object]) -> None:
    good = Announcement(id="t1", initiator="boss", needs=(SkillNeed(name="a"),))
    with pytest.raises(InvalidArgumentError):
        announce(replace(good, **wrong), now_ms=BEGIN_MS, rules=RULES)  # type: ignore[arg-type]


def test_each_agent_is_told_of_the_announcement_with_one_id() -> None:
    play = Play("read")
    play.do(TaskAnnounced(agents=["b", "a", "b"]))
    play.do(TaskAnnounced(agents=["a"]))
    assert play.told(GroupMessage.TASK_ANNOUNCE) == ["a", "b", "a"]
    assert {message.id for message in play.said} == {"t1:task_announce:once"}
    assert play.said[0].payload["skills"] == {"read": 1}


def test_agents_are_asked_for_the_gap_only() -> None:
    play = Play("read", "write")
    play.run(offered("a", "read"), offered("b", "write"))
    play.do(SkillQueried(agents=["c"]))
    assert play.told(GroupMessage.SKILL_QUERY) == []
    play.fail("b")
    play.do(SkillQueried(agents=["a", "b", "c"]))
    assert play.told(GroupMessage.SKILL_QUERY) == ["c"]
    assert play.said[-1].payload["skills"] == {"write": 1}


def test_offers_are_taken_for_the_window_then_the_best_are_invited() -> None:
    play = Play("read")
    play.offer(offered("a", "read", score=0.3), offered("b", "read"))
    assert play.stands(STATE.ANNOUNCED)
    assert next_visit(play.now, now_ms=play.now_ms, rules=RULES) == BEGIN_MS + 200
    step = play.wait(200)
    assert play.stands(STATE.NEGOTIATING)
    assert list(play.now.invitations) == ["b"]
    assert step.slots == (Take(agent="b", announcement="t1", round=1, incarnation=1, expires_ms=play.now_ms + 5_000),)
    assert [(message.type, message.to, message.id) for message in step.messages] == [
        (GroupMessage.GROUP_INVITE, "b", "t1:group_invite:1")
    ]


def test_enough_offers_end_the_window() -> None:
    play = Play("read", rules=Rules(select=steady, enough_offers=3))
    play.offer(offered("a", "read"), offered("b", "read"))
    assert play.stands(STATE.ANNOUNCED)
    play.offer(offered("c", "read"))
    assert play.stands(STATE.NEGOTIATING)


def test_nobody_is_invited_for_a_group_that_cannot_be() -> None:
    play = Play("read", "write")
    play.invite(offered("a", "read"))
    assert (play.now.state, play.taken()) == (STATE.ANNOUNCED, {})


def test_an_offer_that_may_not_count_changes_nothing() -> None:
    play = Play("read")
    play.offer(offered("a", "read", incarnation=3))
    before = play.now
    play.offer(offered("a", "read", incarnation=2), offered("a", "read", incarnation=3), offered("b", "cook"))
    assert play.now is before


def test_of_too_many_offers_each_skill_keeps_its_best() -> None:
    play = Play("read", "write", rules=Rules(select=steady, max_offers=4, enough_offers=99))
    play.offer(
        *(offered(f"a{number}", "read", score=number / 10) for number in range(8)), offered("z", "write", score=0.0)
    )
    assert sorted(play.now.offers) == ["a5", "a6", "a7", "z"]


def test_of_too_many_offers_newcomers_are_not_crowded_out_by_those_who_were_given_much() -> None:
    play = Play("read", rules=Rules(select=steady, enough_offers=99))
    busy = [replace(offered(f"busy{number:02}", "read", score=0.9), given=30.0) for number in range(66)]
    play.offer(*busy, *(offered(f"new{number}", "read") for number in range(4)))
    assert len(play.now.offers) == 64
    assert {f"new{number}" for number in range(4)} <= play.now.offers.keys()


def test_an_announcement_that_looks_at_no_score_keeps_those_who_were_given_least_whatever_their_score() -> None:
    even = next(name for name in (f"t{number}" for number in range(1_000)) if is_even(name))
    play = Play("read", rules=Rules(select=steady, enough_offers=99), id=even)
    good = [replace(offered(f"good{number:02}", "read", score=1.0), given=1.0) for number in range(66)]
    play.offer(*good, offered("poor", "read", score=0.1))
    assert "poor" in play.now.offers


def test_the_last_accept_forms_the_group_in_one_step() -> None:
    play = Play("read", "write")
    play.invite(offered("a", "read"), offered("b", "write"))
    play.accept("a")
    assert (play.now.state, play.now.epoch, play.now.members) == (STATE.NEGOTIATING, 0, {})
    step = play.do(play.accepted("b"))
    assert (play.now.state, play.now.epoch) == (STATE.FORMED, 1)
    assert play.now.token == BEGIN_MS * 1_000
    assert {agent: member.roles for agent, member in play.now.members.items()} == {"a": ("read",), "b": ("write",)}
    assert step.slots == (
        Confirm(agent="a", announcement="t1", round=1),
        Confirm(agent="b", announcement="t1", round=1),
    )
    assert [(message.type, message.to) for message in step.messages] == [
        (GroupMessage.GROUP_FORMED, to) for to in ("a", "b", "boss")
    ]
    assert all(hold.expires_ms is None for book in play.books.values() for hold in book.holds.values())


def test_members_are_told_to_start_once_the_group_is_formed() -> None:
    play = Play("read")
    with pytest.raises(InvalidTransitionError):
        play.start()
    play.run(offered("a", "read"))
    assert (play.now.state, play.told(GroupMessage.TASK_START)) == (STATE.RUNNING, ["a"])
    before = play.now
    play.do(TaskStarted())
    play.do(GroupFormed())
    assert play.now is before


def test_a_tick_starts_a_group_whose_hub_died() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    play.accept("a")
    assert next_visit(play.now, now_ms=play.now_ms, rules=RULES) == play.now_ms
    play.do(Ticked())
    assert play.stands(STATE.RUNNING)


def test_a_group_is_not_formed_before_everybody_accepted() -> None:
    play = Play("read", "write")
    with pytest.raises(InvalidTransitionError, match="it is announced"):
        play.do(GroupFormed())
    play.invite(offered("a", "read"), offered("b", "write"))
    play.accept("a")
    with pytest.raises(InvalidTransitionError, match="nobody has accepted write"):
        play.do(GroupFormed())


def test_an_accept_counts_only_with_its_round_its_life_and_its_slot() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    good = play.accepted("a")
    for wrong in (
        replace(good, agent="b"),
        replace(good, round=2),
        replace(good, incarnation=2),
        replace(good, hold=None),
        replace(good, hold=replace(good.hold, round=0)) if good.hold else good,
        replace(good, hold=replace(good.hold, announcement="t2")) if good.hold else good,
    ):
        before = play.now
        with pytest.raises(FencedError):
            play.do(wrong)
        assert play.now is before
    play.do(good)
    formed = play.now
    play.do(good)
    assert play.now is formed


def test_an_accept_after_its_time_is_fenced() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    late = play.accepted("a")
    play.now_ms += 5_000
    with pytest.raises(FencedError):
        play.do(late)


def test_holds_that_end_too_soon_are_made_longer_before_they_are_formed_with() -> None:
    play = Play("read", "write")
    play.invite(offered("a", "read"), offered("b", "write"))
    play.accept("a")
    play.now_ms += 4_600
    step = play.do(play.accepted("b"))
    assert play.stands(STATE.NEGOTIATING)
    assert [wanted.expires_ms for wanted in step.slots if isinstance(wanted, Take)] == [play.now_ms + 5_000] * 2
    assert next_visit(play.now, now_ms=play.now_ms, rules=RULES) == play.now_ms
    play.do(GroupFormed())
    assert play.stands(STATE.FORMED)


def test_a_rejection_leads_to_the_next_best_and_is_remembered() -> None:
    play = Play("read", "write")
    play.invite(offered("a", "read"), offered("b", "write"), offered("c", "read", score=0.3))
    play.accept("b")
    step = play.reject("a", "no time")
    assert play.now.refused == {"a": "no time"}
    assert sorted(play.now.invitations) == ["b", "c"]
    assert play.now.invitations["b"].accepted
    assert [message.to for message in step.messages] == ["c"]
    assert play.taken() == {"b": 1, "c": 1}
    play.offer(offered("a", "read"))
    assert "a" not in play.now.offers
    play.accept("c")
    assert sorted(play.now.members) == ["b", "c"]


def test_a_rejection_needs_a_reason_and_an_invitation() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    with pytest.raises(InvalidArgumentError):
        play.reject("a", " ")
    before = play.now
    play.do(GroupRejected(agent="a", incarnation=1, round=7, reason="old"))
    play.do(GroupRejected(agent="b", incarnation=1, round=1, reason="old"))
    assert play.now is before
    play.accept("a")
    with pytest.raises(InvalidTransitionError):
        play.do(GroupRejected(agent="a", incarnation=1, round=1, reason="changed my mind"))


def test_silence_leads_to_the_next_best_and_twice_to_no_more_questions() -> None:
    play = Play("read")
    play.invite(offered("a", "read"), offered("b", "read", score=0.3))
    play.wait(5_000)
    assert (list(play.now.invitations), play.now.refused) == (["b"], {})
    play.wait(5_000)
    assert list(play.now.invitations) == ["a"]
    play.wait(5_000)
    assert (list(play.now.invitations), play.now.refused) == (["b"], {"a": "did not answer"})
    play.wait(5_000)
    assert (play.now.state, play.now.offers, play.taken()) == (STATE.ANNOUNCED, {}, {})


def test_who_accepted_and_waited_in_vain_is_not_to_blame() -> None:
    play = Play("read", "write")
    play.invite(offered("a", "read"), offered("b", "write"))
    play.accept("a")
    play.wait(6_000)
    assert play.now.offers["a"].unanswered == 0
    assert play.now.offers["b"].unanswered == 1
    assert play.now.round == 2


def test_a_full_agent_is_passed_over_and_may_offer_again() -> None:
    play = Play("read", slots=1)
    other = Take(agent="a", announcement="t0", round=1, incarnation=1, expires_ms=play.now_ms + 9_000)
    full = take(SlotBook(agent="a", slots=1), other, now_ms=play.now_ms)
    assert full is not None
    play.books["a"] = full
    play.invite(offered("a", "read"))
    assert (play.now.state, play.now.offers, play.now.refused) == (STATE.ANNOUNCED, {}, {})
    play.do(SlotMissed(agent="a", round=1))
    play.books = {}
    play.invite(offered("a", "read"))
    assert list(play.now.invitations) == ["a"]


def test_a_gap_that_the_rest_cannot_fill_begins_the_invitations_anew() -> None:
    play = Play("a", "b", "c", "d", max_size=2)
    play.invite(offered("x", "a", "b"), offered("y", "c", "d"))
    play.accept("y")
    play.offer(offered("z", "a", score=0.3), offered("w", "b", "c", "d", score=0.3))
    play.reject("x")
    assert sorted(play.now.invitations) == ["w", "z"]
    assert play.taken() == {"w": 1, "z": 1}
    play.accept("w", "z")
    assert play.stands(STATE.FORMED)


@pytest.mark.parametrize("stage", ["offered", "invited", "accepted"])
def test_the_formation_goes_on_without_an_agent_that_died(stage: str) -> None:
    play = Play("read")
    play.offer(offered("a", "read"), offered("b", "read", score=0.3))
    if stage != "offered":
        play.do(GroupInvited())
    if stage == "accepted":
        play = Play("read", "write")
        play.invite(offered("a", "read"), offered("b", "read", score=0.3), offered("c", "write"))
        play.accept("a")
    play.do(AgentDied(agent="a", incarnation=1))
    play.offer(offered("a", "read"))
    play.do(GroupInvited())
    assert "a" not in play.now.offers
    assert "b" in play.now.invitations
    play.offer(offered("a", "read", incarnation=2))
    assert "a" in play.now.offers


def test_a_later_life_ends_the_invitation_of_an_earlier_one() -> None:
    play = Play("read")
    play.invite(offered("a", "read"))
    late = play.accepted("a")
    play.offer(offered("a", "read", incarnation=2))
    play.wait(200)
    assert (play.now.invitations["a"].incarnation, play.now.invitations["a"].round) == (2, 2)
    with pytest.raises(FencedError):
        play.do(late)


@pytest.mark.parametrize(
    ("policy", "state"), [(PartialPolicy.FAIL, STATE.FAILED), (PartialPolicy.EXTEND, STATE.ANNOUNCED)]
)
def test_when_the_time_to_form_is_over_the_policy_decides(policy: PartialPolicy, state: AnnouncementState) -> None:
    play = Play("read", "write", partial=policy)
    play.offer(offered("a", "read"))
    play.wait(30_000)
    assert play.now.state is state
    play.to_the_end()
    assert play.stands(STATE.FAILED)
    assert ("write" in play.now.reason) == (policy is PartialPolicy.FAIL)
    assert play.now.ended_ms <= play.now.deadline_ms


def test_a_partial_group_starts_with_whoever_accepted_and_says_so() -> None:
    play = Play("read", "write", "cook", partial=PartialPolicy.START)
    play.invite(offered("a", "read"), offered("b", "write"))
    play.accept("a")
    while play.stands(STATE.NEGOTIATING):
        visit = next_visit(play.now, now_ms=play.now_ms, rules=RULES)
        assert visit is not None
        play.wait(visit - play.now_ms)
    assert (play.now.state, play.now.is_partial, list(play.now.members)) == (STATE.FORMED, True, ["a"])
    assert play.now.formed_ms == play.now.forms_until_ms
    assert play.taken() == {"a": 1}
    play.start()
    play.complete("a", 1)
    assert (play.now.state, play.now.is_partial, play.now.results) == (STATE.COMPLETED, True, {"read": 1})


@pytest.mark.parametrize("stage", ["announced", "offered", "invited", "accepted", "formed", "running", "reforming"])
def test_it_can_be_cancelled_at_every_stage(stage: str) -> None:
    play = Play("read", "write")
    stages: dict[str, Callable[[], object]] = {
        "announced": lambda: None,
        "offered": lambda: play.offer(offered("a", "read"), offered("b", "write")),
        "invited": lambda: play.do(GroupInvited()),
        "accepted": lambda: play.accept("a"),
        "formed": lambda: play.accept("b"),
        "running": play.start,
        "reforming": lambda: play.fail("b"),
    }
    for name, act in stages.items():
        act()
        if name == stage:
            break
    play.do(TaskCancelled(by="boss", reason="enough"))
    assert (play.now.state, play.now.reason) == (STATE.CANCELLED, "cancelled by boss: enough")
    assert play.taken() == {}
    assert "boss" in play.told(GroupMessage.TASK_CANCEL)
    over = play.now
    for event in (
        TaskCancelled(by="boss"),
        GroupInvited(),
        SkillQueried(agents=["z"]),
        SkillOffered(offer=offered("z", "read")),
        GroupRejected(agent="a", incarnation=1, round=1, reason="x"),
        SlotMissed(agent="a", round=1),
        AgentDied(agent="a", incarnation=1),
        Ticked(),
    ):
        assert apply(over, event, now_ms=play.now_ms, rules=RULES).announcement is over
    for refused in (GroupFormed(), TaskStarted(), TaskAnnounced(agents=["z"])):
        with pytest.raises(InvalidTransitionError):
            apply(over, refused, now_ms=play.now_ms, rules=RULES)
    assert next_visit(over, now_ms=play.now_ms, rules=RULES) is None


def test_what_a_dead_hub_left_undone_is_named_again_with_the_same_ids() -> None:
    play = Play("read", "write")
    play.offer(offered("a", "read"), offered("b", "write"))
    step = play.do(GroupInvited())
    again = outstanding(play.now, now_ms=play.now_ms)
    assert (again.slots, again.messages) == (step.slots, step.messages)
    play.accept("a")
    step = play.do(play.accepted("b"))
    assert outstanding(play.now, now_ms=play.now_ms) == step
    step = play.do(TaskStarted())
    assert outstanding(play.now, now_ms=play.now_ms).messages == step.messages
    play.complete("a")
    step = play.complete("b")
    again = outstanding(play.now, now_ms=play.now_ms)
    assert (again.slots, again.messages) == (step.slots, step.messages)
