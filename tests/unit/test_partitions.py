"""Which nodes reach each other: the same answer whatever the order, and a stated one for links that work one way."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.nodes.model import Sightings
from meshd.nodes.partitions import Change, Partition, SplitWatch, components, edge_faults, partitions

NAMES = [f"n{number}" for number in range(8)]
MAPS = st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from([*NAMES, "stranger"])))
SEEN = st.builds(
    Sightings,
    reached=st.frozensets(st.sampled_from(NAMES), max_size=3),
    unreached=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 99), max_size=3),
)


def saw(*reached: str, lost: dict[str, int] | None = None) -> Sightings:
    return Sightings(reached=frozenset(reached), unreached=lost or {})


def split(*left: str, right: tuple[str, ...]) -> dict[str, Sightings]:
    """Return what all see when the two sides do not reach each other since 7."""
    sides = (left, right)
    return {
        node: saw(*(set(side) - {node}), lost=dict.fromkeys(sides[1 - at], 7))
        for at, side in enumerate(sides)
        for node in side
    }


def groups(found: list[Partition]) -> list[tuple[str, ...]]:
    return [one.nodes for one in found]


def test_a_map_with_two_pairs_has_two_components() -> None:
    assert components({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}) == [{"a", "b"}, {"c", "d"}]


@pytest.mark.parametrize("hears", [{"a": ["b"], "b": []}, {"b": ["a"], "a": []}, {"b": [], "a": ["b"]}])
def test_a_link_one_way_is_none_whichever_way_it_works(hears: dict[str, list[str]]) -> None:
    assert components(hears) == [{"a"}, {"b"}]


def test_neighbours_that_are_no_members_are_ignored() -> None:
    assert components({"a": ["b", "ghost"], "b": ["a", "ghost"]}) == [{"a", "b"}]
    assert groups(partitions(["a"], {"a": saw("ghost", lost={"gone": 3})}, on_hub=["a"])) == [("a",)]


@given(MAPS, st.randoms(use_true_random=False))
def test_components_do_not_depend_on_any_order(hears: dict[str, set[str]], rng: Random) -> None:
    shuffled = [(node, rng.sample(sorted(others), len(others))) for node, others in hears.items()]
    rng.shuffle(shuffled)
    found = components(dict(shuffled))
    assert found == components(hears)
    assert sorted(node for group in found for node in group) == sorted(hears)


@given(st.sets(st.sampled_from(NAMES)), st.dictionaries(st.sampled_from(NAMES), SEEN), st.randoms())
def test_partitions_hold_every_member_once_in_any_order(
    on_hub: set[str], sightings: dict[str, Sightings], rng: Random
) -> None:
    shuffled = rng.sample(sorted(sightings), len(sightings))
    found = partitions(NAMES, sightings, on_hub=on_hub)
    again = partitions(rng.sample(NAMES, len(NAMES)), {node: sightings[node] for node in shuffled}, on_hub=on_hub)
    assert found == again
    assert sorted(node for one in found for node in one.nodes) == NAMES
    assert sorted(node for one in found for node in one.hub) == sorted(on_hub)


def test_a_round_trip_counts_whoever_made_it() -> None:
    assert groups(partitions("ab", {"a": saw("b")}, on_hub="ab")) == [("a", "b")]
    assert groups(partitions("ab", {"b": saw("a"), "a": saw(lost={"b": 5})}, on_hub="ab")) == [("a", "b")]


def test_two_sides_that_both_keep_the_hub_are_two_partitions_since_the_last_link_went() -> None:
    sightings = split("a", "b", "c", right=("d", "e"))
    sightings["d"] = saw("e", lost={"a": 7, "b": 11, "c": 7})
    assert partitions("abcde", sightings, on_hub="abcde") == [
        Partition(nodes=("a", "b", "c"), hub=("a", "b", "c"), since_ms=11),
        Partition(nodes=("d", "e"), hub=("d", "e"), since_ms=11),
    ]


def test_the_side_without_the_hub_comes_last_and_says_so() -> None:
    found = partitions("abcde", split("a", "b", right=("c", "d", "e")), on_hub="ab")
    assert groups(found) == [("a", "b"), ("c", "d", "e")]
    assert [one.holds_hub for one in found] == [True, False]


def test_without_any_probe_the_hub_holds_the_mesh_together() -> None:
    assert groups(partitions("abc", {}, on_hub="abc")) == [("a", "b", "c")]


def test_what_nobody_probes_stays_with_the_hub() -> None:
    sightings = {**split("a", "b", right=("c",)), "new": saw(), "far": saw("further")}
    found = partitions(["a", "b", "c", "new", "far", "further"], sightings, on_hub=["a", "b", "c", "new", "far"])
    assert groups(found) == [("a", "b", "far", "further", "new"), ("c",)]


def test_a_link_that_fails_within_a_partition_is_an_edge_fault() -> None:
    sightings = {"a": saw("b", lost={"c": 4}), "b": saw("c"), "c": saw("b", lost={"a": 5})}
    assert groups(partitions("abc", sightings, on_hub="abc")) == [("a", "b", "c")]
    assert edge_faults("abc", sightings) == [("a", "c")]
    assert edge_faults("abcde", split("a", "b", "c", right=("d", "e"))) == []


def test_a_split_is_told_at_once_and_its_end_after_three_whole_rounds() -> None:
    cut = partitions("abcde", split("a", "b", "c", right=("d", "e")), on_hub="abcde")
    whole = partitions("abcde", {}, on_hub="abcde")
    watch, told = SplitWatch(), list[Change | None]()
    for now_ms, found in enumerate([whole, cut, cut, whole, whole, cut, whole, whole, whole, whole], start=100):
        watch, change = watch.after(found, now_ms=now_ms)
        told.append(change)
    began = Change(is_healed=False, sizes=(3, 2), since_ms=7)
    assert told == [None, began, *[None] * 6, Change(is_healed=True, sizes=(5,), since_ms=7), None]
