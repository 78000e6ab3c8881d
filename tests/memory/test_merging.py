"""Values that merge: what several change at once is all there, and what was removed stays removed."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.codec import encode
from meshd.errors import CorruptDataError, InvalidArgumentError, InvalidPayloadError
from meshd.memory.joining import join, observed_in
from meshd.memory.merging import (
    Body,
    counted,
    element_text,
    merge,
    merged_map,
    plain,
    set_changed,
    value_of,
    writers,
)
from meshd.memory.model import Dot, Header, Item, Kind, Policy, Version
from tests.memory.histories import KEY, Making, Step, amounts, elements, fields, play, steps
from tests.memory.mesh import SEAL


def _one_more(item: Item) -> Body:
    return counted(item, 1)


def _with_x(item: Item) -> Body:
    return set_changed(item, add=["x"])


KINDS = st.sampled_from([(Kind.MAP, fields), (Kind.SET, elements), (Kind.COUNTER, amounts)])


@given(KINDS, steps("write", "remove"))
def test_siblings_together_read_as_all_writes_one_after_the_other(
    chosen: tuple[Kind, Making], drawn: list[Step]
) -> None:
    kind, make = chosen
    history = play(drawn, make=make, kind=kind, policy=Policy.MERGE_COMPATIBLE)
    if history.versions:
        assert merge(history.item, kind=kind) == history.oracle.value(KEY, kind)


@given(KINDS, steps("write", "remove"))
def test_the_order_of_siblings_is_no_matter(chosen: tuple[Kind, Making], drawn: list[Step]) -> None:
    kind, make = chosen
    item = play(drawn, make=make, kind=kind, policy=Policy.MERGE_COMPATIBLE).item
    assert len({encode(merge(order, kind=kind)) for order in permutations(item)}) <= 1


@given(KINDS, steps("write", "remove"))
def test_a_write_over_all_siblings_that_changes_nothing_reads_the_same(
    chosen: tuple[Kind, Making], drawn: list[Step]
) -> None:
    kind, make = chosen
    item = play(drawn, make=make, kind=kind, policy=Policy.MERGE_COMPATIBLE).item
    shown = merge(item, kind=kind)
    unchanged = {
        Kind.MAP: lambda: merged_map(shown, item),
        Kind.SET: lambda: set_changed(item),
        Kind.COUNTER: lambda: counted(item, 0),
    }[kind]()
    after = _over(item, "zoe~1", 99, unchanged, kind=kind)
    assert value_of(after) == shown
    assert join(item, (after,)) == (after,)


def test_fields_changed_at_once_are_both_there() -> None:
    base = _map("ann~1", 1, {"city": "Paris", "mayor": "?"})
    one = _map("ben~1", 2, {"city": "Paris", "mayor": "Hidalgo"}, base)
    other = _map("eve~1", 3, {"city": "Paris", "mayor": "?", "rivers": ["Seine"]}, base)
    assert merge((one, other), kind=Kind.MAP) == {"city": "Paris", "mayor": "Hidalgo", "rivers": ["Seine"]}


def test_of_one_field_changed_at_once_the_later_shows_and_then_the_actor_decides() -> None:
    base = _map("ann~1", 1, {"n": 0})
    early, late = _map("eve~1", 2, {"n": 1}, base), _map("ben~1", 3, {"n": 2}, base)
    assert merge((early, late), kind=Kind.MAP) == {"n": 2}
    same = _map("eve~1", 3, {"n": 3}, base)
    assert merge((late, same), kind=Kind.MAP) == {"n": 3}


def test_an_edit_wins_over_a_removal_that_had_not_seen_it() -> None:
    base = _map("ann~1", 1, {"a": 1, "b": 1})
    removed, edited = _map("ben~1", 9, {"b": 1}, base), _map("eve~1", 2, {"a": 2, "b": 1}, base)
    assert merge((removed, edited), kind=Kind.MAP) == {"a": 2, "b": 1}


def test_a_removal_wins_over_a_sibling_that_left_the_field_alone() -> None:
    base = _map("ann~1", 1, {"a": 1, "b": 1})
    removed, elsewhere = _map("ben~1", 2, {"b": 1}, base), _map("eve~1", 9, {"a": 1, "b": 2}, base)
    assert merge((removed, elsewhere), kind=Kind.MAP) == {"b": 2}


def test_a_write_elsewhere_does_not_decide_a_clash_it_carries_along() -> None:
    base = _map("ann~1", 1, {"n": 0})
    one, other = _map("ann~1", 4, {"n": 1}, base), _map("ben~1", 5, {"n": 2}, base)
    carried = _map("eve~1", 20, {"n": 2, "m": 1}, one, other)
    last = _map("zoe~1", 9, {"n": 3}, base)
    assert merge((carried, last), kind=Kind.MAP) == {"m": 1, "n": 3}


def test_an_addition_wins_over_a_removal_that_had_not_seen_it() -> None:
    base = _set("ann~1", 1, add=["x"])
    added, removed = _set("ben~1", 2, base, add=["x"]), _set("eve~1", 9, base, remove=["x"])
    assert merge((added, removed), kind=Kind.SET) == ["x"]
    assert value_of(removed) == []


def test_a_set_holds_any_json_and_equal_values_once() -> None:
    version = _set("ann~1", 1, add=[{"b": 1, "a": 2}, {"a": 2, "b": 1}, 1, "1", None, [1]])
    assert value_of(version) == ["1", 1, [1], None, {"a": 2, "b": 1}]
    assert element_text({"b": 1, "a": 2}) == element_text({"a": 2, "b": 1})


def test_an_element_that_is_both_removed_and_added_is_there() -> None:
    assert value_of(_set("ann~1", 1, add=["x"], remove=["x"])) == ["x"]


def test_counts_of_several_add_up_whatever_they_saw() -> None:
    base = _count("ann~1", 1, 5)
    one, other = _count("ann~1", 2, 3, base), _count("ben~1", 3, -1, base)
    assert merge((one, other), kind=Kind.COUNTER) == 7
    assert value_of(_count("eve~1", 4, 10, one, other)) == 17


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5))
def test_a_sum_of_fractions_is_the_same_for_every_order(amounts: list[float]) -> None:
    item = tuple(_count(f"{name}~1", 1, by) for name, by in zip("abcde", amounts, strict=False))
    assert len({merge(order, kind=Kind.COUNTER) for order in permutations(item)}) == 1


def test_plain_values_are_merged_as_what_they_are() -> None:
    assert merge((_plain("ann~1", 1, {"a": 1}), _plain("ben~1", 1, {"b": 2})), kind=Kind.MAP) == {"a": 1, "b": 2}
    assert value_of(_set("ben~1", 2, _plain("ann~1", 1, ["x"]), add=["y"])) == ["x", "y"]
    assert value_of(_count("ben~1", 2, 1, _plain("ann~1", 1, 41))) == 42


@pytest.mark.parametrize(("held", "change"), [("text", _one_more), (True, _one_more), ({"a": 1}, _with_x)])
def test_a_key_that_holds_something_else_is_left_alone(held: object, change: Callable[[Item], Body]) -> None:
    with pytest.raises(InvalidArgumentError, match="holds a"):
        change((_plain("ann~1", 1, held),))


def test_a_map_is_not_counted() -> None:
    with pytest.raises(InvalidArgumentError, match="holds a map, not a counter"):
        counted((_map("ann~1", 1, {"a": 1}),), 1)


@pytest.mark.parametrize("by", [float("nan"), float("inf"), True])
def test_only_numbers_are_counted(by: float) -> None:
    with pytest.raises(InvalidArgumentError):
        counted((), by)


@pytest.mark.parametrize("value", [{1, 2}.__class__, object()])
def test_only_json_is_taken(value: object) -> None:
    with pytest.raises(InvalidPayloadError):
        plain(value)
    with pytest.raises(InvalidPayloadError):
        set_changed((), add=[value])
    with pytest.raises(InvalidPayloadError):
        merged_map({"field": value}, ())


def test_a_version_says_who_wrote_each_field() -> None:
    base = _map("ann~1", 1, {"a": 1, "b": 1})
    edited = _map("ben~1", 2, {"a": 1, "b": 2}, base)
    assert writers((edited,), kind=Kind.MAP) == {"a": Dot("ann~1", 1), "b": Dot("ben~1", 2)}


def test_what_has_expired_is_not_carried_on() -> None:
    mortal = _over((), "ann~1", 1, merged_map({"a": 1}, ()), kind=Kind.MAP, expires_ms=5)
    assert value_of(_map("ben~1", 9, {"b": 2}, mortal)) == {"b": 2}
    assert writers((_map("ben~1", 9, {"a": 1}, mortal),), kind=Kind.MAP) == {"a": Dot("ben~1", 9)}


@pytest.mark.parametrize("body", [b"[1]", b'{"a":1}', b'{"a":[]}', b'{"a":[["\xff"]]}', b"\x01damaged"])
def test_a_body_that_is_none_is_an_alarm(body: bytes) -> None:
    version = SEAL.make(Header(actor="ann~1", seq=1, observed={}, ms=1, key=KEY, kind=Kind.MAP), body)
    with pytest.raises(CorruptDataError):
        value_of(version)


def test_a_fresh_map_is_stored_without_stamps() -> None:
    assert _map("ann~1", 1, {"a": 1}).body == b'{"a":[[1]]}'


def _over(item: Item, actor: str, ms: int, body: Body, *, kind: Kind = Kind.VALUE, expires_ms: int = 0) -> Version:
    observed = observed_in(item, actor=actor)
    header = Header(actor=actor, seq=ms, observed=observed, ms=ms, key=KEY, kind=kind, expires_ms=expires_ms)
    return SEAL.make(header, body(header))


def _plain(actor: str, ms: int, value: object) -> Version:
    return _over((), actor, ms, plain(value))


def _map(actor: str, ms: int, value: dict[str, Any], *over: Version) -> Version:
    return _over(over, actor, ms, merged_map(value, over), kind=Kind.MAP)


def _set(actor: str, ms: int, *over: Version, add: list[Any] | None = None, remove: list[Any] | None = None) -> Version:
    return _over(over, actor, ms, set_changed(over, add=add or (), remove=remove or ()), kind=Kind.SET)


def _count(actor: str, ms: int, by: float, *over: Version) -> Version:
    return _over(over, actor, ms, counted(over, by), kind=Kind.COUNTER)
