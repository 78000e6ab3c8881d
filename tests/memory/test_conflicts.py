"""Conflicts through the service: what is read, what waits for a person, how it is settled."""

from collections.abc import Sequence

import pytest

from meshd.clock import ManualClock
from meshd.errors import ConfigurationError, InvalidArgumentError, NotFoundError, WriteConflictError
from meshd.memory.access import Author
from meshd.memory.core import Shared
from meshd.memory.customs import customs_of
from meshd.memory.model import Policy
from meshd.memory.policies import Side
from meshd.memory.prefixes import Rule, Rules, rank_of
from meshd.memory.service import Memory
from tests.memory.islands import Island, meet

LONGEST = "custom:tests.memory.test_conflicts:longest"
FAILING = "custom:tests.memory.test_conflicts:failing"


def rules(policy: str) -> Rules:
    return Rules(default=Rule(policy=policy))


def longest(sides: Sequence[Side]) -> object:
    return max((side.value for side in sides), key=len)


def failing(sides: Sequence[Side]) -> object:
    raise ZeroDivisionError(str(len(sides)))


@pytest.fixture
def a(clock: ManualClock) -> Island:
    return Island("a", clock)


@pytest.fixture
def b(clock: ManualClock) -> Island:
    return Island("b", clock)


async def both_write(a: Island, b: Island, policy: str, clock: ManualClock) -> tuple[Memory, Memory]:
    """Have both write one key without knowing of each other, `b` a second later."""
    here, there = a.memory(rules(policy), rank=rank_of("coordination_hub")), b.memory(rules(policy))
    await here.put("k", "first and long")
    clock.advance(seconds=1)
    await there.put("k", "second")
    await meet(a, b)
    return here, there


@pytest.mark.parametrize(
    ("policy", "value", "waits"),
    [
        (Policy.LATEST_WINS, "second", False),
        (Policy.SOURCE_PRIORITY, "first and long", False),
        (Policy.MERGE_COMPATIBLE, "second", False),
        (Policy.VERSION_VECTOR, "second", True),
        (Policy.MANUAL, "second", True),
    ],
)
async def test_both_sides_read_the_same(
    policy: str, value: str, waits: bool, a: Island, b: Island, clock: ManualClock
) -> None:
    for memory in await both_write(a, b, policy, clock):
        entry = await memory.get("k")
        assert entry is not None
        assert (entry.value, entry.is_conflict) == (value, waits)
        assert {each.value for each in entry.siblings} == {"first and long", "second"}
        assert len(await memory.conflicts()) == int(waits)
        assert len(await memory.conflicts(settled=True)) == 1


async def test_a_person_settles_a_conflict_and_every_node_takes_it(a: Island, b: Island, clock: ManualClock) -> None:
    here, there = await both_write(a, b, Policy.MANUAL, clock)
    (conflict,) = await there.conflicts()
    assert (conflict.key, conflict.value, conflict.needs_person) == ("k", "second", True)
    assert [(side.value, side.node) for side in conflict.sides] == [("second", "b"), ("first and long", "a")]
    await here.resolve("k", conflict.sides[1].name, note="the longer one")
    await meet(a, b)
    for memory in (here, there):
        assert await memory.conflicts(settled=True) == []
        entry = await memory.get("k")
        assert entry is not None
        assert (entry.value, entry.winner.note) == ("first and long", "the longer one")
    with pytest.raises(NotFoundError, match="no conflict"):
        await there.resolve("k", conflict.sides[0].name)


async def test_a_conflict_may_be_settled_with_another_value(a: Island, b: Island, clock: ManualClock) -> None:
    here, _ = await both_write(a, b, Policy.MANUAL, clock)
    await here.resolve("k", value=None)
    entry = await here.get("k")
    assert entry is not None
    assert (entry.value, entry.is_conflict) == (None, False)
    with pytest.raises(InvalidArgumentError, match="one of the two"):
        await here.resolve("k")


async def test_two_people_who_settle_one_conflict_apart_make_a_new_one(
    a: Island, b: Island, clock: ManualClock
) -> None:
    here, there = await both_write(a, b, Policy.MANUAL, clock)
    await here.resolve("k", value="here")
    await there.resolve("k", value="there")
    await meet(a, b)
    (conflict,) = await here.conflicts()
    assert {side.value for side in conflict.sides} == {"here", "there"}
    with pytest.raises(NotFoundError, match="not one of its sides"):
        await here.resolve("k", "a:99")


async def test_a_write_that_does_not_say_what_it_saw_leaves_the_other_side(
    a: Island, b: Island, clock: ManualClock
) -> None:
    here, there = await both_write(a, b, Policy.MANUAL, clock)
    await there.put("k", "third")
    (conflict,) = await there.conflicts()
    assert [side.value for side in conflict.sides] == ["third", "first and long"]
    entry = await here.get("k")
    assert entry is not None
    await here.put("k", "settled", over=entry)
    assert await here.conflicts() == []


async def test_equal_values_are_no_conflict(a: Island, b: Island) -> None:
    here, there = a.memory(rules(Policy.MANUAL)), b.memory(rules(Policy.MANUAL))
    await here.put("k", {"x": 1, "y": 2})
    await there.put("k", {"y": 2, "x": 1})
    await meet(a, b)
    assert await here.conflicts() == []


def custom(island: Island, policy: str) -> Memory:
    found = rules(policy)
    return Memory(Shared(access=island, rules=found, customs=customs_of(found)), author=Author(node="a"))


async def test_a_function_of_the_users_own_is_called_with_both_sides(a: Island, b: Island, clock: ManualClock) -> None:
    await both_write(a, b, LONGEST, clock)
    for island in (a, b):
        entry = await custom(island, LONGEST).get("k")
        assert entry is not None
        assert (entry.value, entry.is_conflict) == ("first and long", False)


async def test_a_function_that_fails_leaves_the_choice_to_a_person(a: Island, b: Island, clock: ManualClock) -> None:
    await both_write(a, b, FAILING, clock)
    (conflict,) = await custom(a, FAILING).conflicts()
    assert conflict.needs_person
    assert "ZeroDivisionError: 2" in conflict.why


async def test_what_others_name_is_not_run_here(a: Island, b: Island, clock: ManualClock) -> None:
    here, _ = await both_write(a, b, LONGEST, clock)
    (conflict,) = await here.conflicts()
    assert "is not known here" in conflict.why


@pytest.mark.parametrize(
    "name", ["nowhere:f", "tests.memory.test_conflicts:nothing", "tests.memory.test_conflicts", ":"]
)
def test_a_function_that_is_not_there_is_a_matter_of_configuration(name: str) -> None:
    with pytest.raises(ConfigurationError, match="write module:function"):
        customs_of(rules(f"custom:{name}"))


def test_ranks_follow_the_order_of_the_settings() -> None:
    ranks = [
        rank_of(kind)
        for kind in ("coordination_hub", "planning_only", "general", "language_expert", "sensor_connected")
    ]
    assert ranks == [5, 4, 3, 2, 1]
    assert rank_of("memory_heavy") == 0
    assert rank_of("memory_heavy", ["memory_heavy", "hub"]) == 2


async def test_a_conditional_write_sees_a_conflict_coming(a: Island) -> None:
    memory = a.memory()
    entry = await memory.put("k", 1)
    await memory.put("k", 2)
    with pytest.raises(WriteConflictError, match="read it again"):
        await memory.put("k", 3, over=entry)
