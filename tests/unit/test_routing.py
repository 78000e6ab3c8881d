"""Routes are canonical, and served by exactly those who can run them."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.tasks.model import Claimer, Priority
from meshd.tasks.routing import OFFSETS_MS, requirements_of, route_of, serves, virtual_time

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,5}", fullmatch=True)
sets = st.frozensets(names, max_size=4)
pools = st.sampled_from(["a", "b", "c", "d"])


@given(task_type=names, requirements=st.lists(names, max_size=4), data=st.data())
def test_equal_sets_of_requirements_give_equal_routes(
    task_type: str, requirements: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations([*requirements, *requirements]))
    assert route_of(task_type, requirements) == route_of(task_type, shuffled)


@given(task_type=names, requirements=sets)
def test_a_route_can_be_taken_apart_again(task_type: str, requirements: frozenset[str]) -> None:
    assert requirements_of(route_of(task_type, requirements)) == (task_type, requirements - {task_type})


@given(one=st.tuples(names, sets), other=st.tuples(names, sets))
def test_different_requirements_give_different_routes(
    one: tuple[str, frozenset[str]], other: tuple[str, frozenset[str]]
) -> None:
    same = one[0] == other[0] and one[1] - {one[0]} == other[1] - {other[0]}
    assert (route_of(*one) == route_of(*other)) == same


@given(task_type=pools, requirements=st.frozensets(pools), types=st.frozensets(pools), holds=st.frozensets(pools))
def test_a_claimer_serves_what_it_handles_and_holds_in_full(
    task_type: str, requirements: frozenset[str], types: frozenset[str], holds: frozenset[str]
) -> None:
    claimer = Claimer(node_id="n1", incarnation=1, task_types=types, capabilities=holds)
    expected = task_type in types and requirements <= types | holds
    assert serves(claimer, route_of(task_type, requirements)) == expected


def test_offsets_rise_from_critical_to_background() -> None:
    assert list(OFFSETS_MS) == list(Priority)
    assert list(OFFSETS_MS.values()) == sorted(set(OFFSETS_MS.values()))


@given(ready_ms=st.integers(0, 10**13), late_ms=st.integers(0, 10**6), priority=st.sampled_from(Priority))
def test_a_critical_task_overtakes_only_within_the_offset(ready_ms: int, late_ms: int, priority: Priority) -> None:
    overtakes = virtual_time(ready_ms + late_ms, Priority.CRITICAL) < virtual_time(ready_ms, priority)
    assert overtakes == (late_ms < OFFSETS_MS[priority])
