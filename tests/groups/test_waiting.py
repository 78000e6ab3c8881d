"""Whose turn it is: by the time of the announcement and its urgency, so nobody is overtaken for good."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.groups.model import Urgency
from meshd.groups.waiting import Call, Turns

NOW = 1_700_000_000_000


def call(name: str, *, at_s: float = 0, urgency: Urgency = Urgency.NORMAL, ends_s: float = 600) -> Call:
    at_ms = NOW + round(at_s * 1000)
    return Call(announcement=name, urgency=urgency, announced_ms=at_ms, deadline_ms=NOW + round(ends_s * 1000))


def served(turns: Turns, *, agent: str = "ana", now_ms: int = NOW) -> list[str]:
    found: list[str] = []
    while (first := turns.next(agent, now_ms=now_ms)) is not None:
        found.append(first.announcement)
    return found


def test_urgent_work_goes_first_and_then_what_was_announced_first() -> None:
    turns = Turns()
    for each in (call("n1"), call("n2", at_s=1), call("c", at_s=2, urgency=Urgency.CRITICAL), call("l", at_s=-200)):
        turns.wait(each, "ana")
    assert served(turns) == ["l", "c", "n1", "n2"]


def test_low_priority_is_overtaken_only_by_what_is_announced_within_its_delay() -> None:
    turns = Turns()
    turns.wait(call("low", urgency=Urgency.LOW), "ana")
    for second in range(0, 300, 10):
        turns.wait(call(f"high-{second}", at_s=second, urgency=Urgency.HIGH), "ana")
    order = served(turns)
    assert order[: order.index("low")] == [f"high-{second}" for second in range(0, 90, 10)]


@given(st.lists(st.tuples(st.sampled_from(Urgency), st.integers(0, 3_600)), min_size=1, max_size=40))
def test_whoever_waits_is_served_before_everything_announced_its_delay_later(calls: list[tuple[Urgency, int]]) -> None:
    turns = Turns()
    made = [call(f"t{number}", at_s=at, urgency=urgency) for number, (urgency, at) in enumerate(calls)]
    for each in made:
        turns.wait(each, "ana")
    order = {name: place for place, name in enumerate(served(turns))}
    for one in made:
        for other in made:
            if other.announced_ms > one.announced_ms + one.urgency * 1000:
                assert order[one.announcement] < order[other.announcement]


def test_of_more_than_can_be_remembered_the_latest_turns_are_forgotten() -> None:
    turns = Turns(most=3)
    for second in (5, 1, 4, 2, 3):
        turns.wait(call(f"t{second}", at_s=second), "ana")
    assert served(turns) == ["t1", "t2", "t3"]


def test_what_is_past_its_deadline_or_over_has_no_turn() -> None:
    turns = Turns()
    turns.wait(call("late", ends_s=10), "ana")
    turns.wait(call("over"), "ana")
    turns.wait(call("open", at_s=1), "ana")
    turns.forget("over")
    assert served(turns, now_ms=NOW + 20_000) == ["open"]
    assert len(turns) == 0


def test_each_agent_has_turns_of_its_own() -> None:
    turns = Turns()
    turns.wait(call("t1"), "ana")
    turns.wait(call("t1"), "bob")
    assert served(turns) == ["t1"]
    assert turns.has_waiting("bob")
    turns.drop("bob")
    assert not turns.has_waiting("bob")


def test_a_slot_promised_to_an_earlier_turn_is_not_given_to_a_later_one() -> None:
    turns = Turns()
    low, high = call("low", at_s=-200, urgency=Urgency.LOW), call("high", urgency=Urgency.HIGH)
    turns.promise("ana", low)
    assert not turns.is_free("ana", high, free=1)
    assert turns.is_free("ana", high, free=2)
    assert turns.is_free("ana", low, free=1)
    assert turns.is_free("ana", None, free=1)
    assert not turns.is_unpromised("ana", free=1)
    assert turns.keep("ana", "low")
    assert not turns.keep("ana", "low")
    assert turns.is_free("ana", high, free=1)


def test_a_slot_promised_to_a_later_turn_goes_to_an_earlier_one_that_comes() -> None:
    turns = Turns()
    turns.promise("ana", call("late", at_s=100))
    assert turns.is_free("ana", call("early"), free=1)
