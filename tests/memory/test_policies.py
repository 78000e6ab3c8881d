"""Policies: functions of the set of live siblings, whatever their order."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.codec import encode
from meshd.memory.joining import join
from meshd.memory.merging import counted, merged_map, plain
from meshd.memory.model import Flag, Header, Item, Kind, Policy, Version
from meshd.memory.policies import Custom, Resolved, Side, resolve
from tests.memory.histories import KEY, NOW_MS, POLICIES, histories
from tests.memory.mesh import SEAL

CONCURRENT = ("ann~1", "ben~1", "eve~1")


def longest(sides: Sequence[Side]) -> object:
    """Prefer the value with the longest JSON text; of equals, the latest."""
    return max(sides, key=lambda side: len(encode(side.value))).value


CUSTOMS: dict[str, Custom] = {"longest": longest}


def read(item: Item, *, now_ms: int = NOW_MS) -> Resolved:
    return resolve(item, now_ms=now_ms, customs=CUSTOMS)


@given(st.sampled_from(POLICIES), st.data())
def test_every_order_of_arrival_reads_the_same(policy: str, data: st.DataObject) -> None:
    versions = data.draw(histories(policy)).versions
    arrived: Item = ()
    for version in data.draw(st.permutations([*versions, *versions])):
        arrived = join(arrived, (version,))
    assert read(arrived) == read(join(tuple(versions)))


@given(st.sampled_from(POLICIES), st.data())
def test_every_order_of_siblings_reads_the_same(policy: str, data: st.DataObject) -> None:
    item = data.draw(histories(policy)).item
    assert all(read(order) == read(item) for order in permutations(item))


@given(st.sampled_from(POLICIES), st.data(), st.integers(0, 50))
def test_only_live_siblings_count(policy: str, data: st.DataObject, now_ms: int) -> None:
    item = data.draw(histories(policy)).item
    live = tuple(version for version in item if version.is_live(now_ms))
    resolved = read(item, now_ms=now_ms)
    assert set(resolved.dots) == {version.dot for version in live}
    assert resolved.exists == bool(live)
    if live:
        assert resolved == read(live, now_ms=now_ms)


@pytest.mark.parametrize("policy", POLICIES)
def test_one_sibling_is_the_value_under_every_policy(policy: str) -> None:
    version = _version("ann~1", 1, "Paris", policy=policy)
    resolved = read((version,))
    assert (resolved.value, resolved.winner, resolved.is_conflict) == ("Paris", version, False)
    assert (resolved.siblings, resolved.losers, resolved.policy) == ((version,), (), policy)


def test_nothing_written_is_no_value() -> None:
    resolved = read(())
    assert not resolved.exists
    assert resolved.value is None


def test_a_null_is_a_value() -> None:
    assert read((_version("ann~1", 1, None),)).exists


def test_the_latest_wins_by_milliseconds_then_tick_then_actor() -> None:
    assert read(_siblings(1, 3, 2)).value == "ben~1"
    assert read((_version("ann~1", 1, "a", tick=2), _version("ben~1", 1, "b", tick=1))).value == "a"
    assert read(_siblings(1, 1, 1)).value == "eve~1"


def test_the_losers_stay_in_sight() -> None:
    ann, ben, eve = item = _siblings(1, 3, 2)
    resolved = read(item)
    assert (resolved.siblings, resolved.losers) == ((ben, eve, ann), (eve, ann))
    assert not resolved.is_conflict


def test_the_trusted_source_wins_then_the_later() -> None:
    policy = Policy.SOURCE_PRIORITY
    hub, sensor = _version("a~1", 1, "hub", rank=5, policy=policy), _version("b~1", 9, "sensor", rank=1, policy=policy)
    other = _version("c~1", 2, "other hub", rank=5, policy=policy)
    assert read((hub, sensor)).value == "hub"
    assert read((hub, sensor, other)).value == "other hub"


def test_maps_merge_and_other_values_fall_back_to_the_latest() -> None:
    policy = Policy.MERGE_COMPATIBLE
    one, other = _map("ann~1", 1, {"a": 1, "b": 1}), _map("ben~1", 2, {"b": 2})
    text = _version("eve~1", 3, "text", policy=policy)
    assert (read((one, other)).value, read((one, other)).is_merged) == ({"a": 1, "b": 2}, True)
    assert read((one, other)).losers == ()
    assert (read((one, text)).value, read((one, text)).losers) == ("text", (one,))
    early = _version("eve~1", 0, "text", policy=policy)
    assert (read((one, other, early)).value, read((one, other, early)).losers) == ({"a": 1, "b": 2}, (early,))


@pytest.mark.parametrize(("policy", "needs_person"), [(Policy.VERSION_VECTOR, False), (Policy.MANUAL, True)])
def test_siblings_stand_side_by_side_and_the_latest_is_shown(policy: Policy, needs_person: bool) -> None:
    resolved = read(_siblings(1, 3, 2, policy=policy))
    assert (resolved.value, resolved.is_conflict, resolved.needs_person) == ("ben~1", True, needs_person)
    assert len(resolved.siblings) == 3


@pytest.mark.parametrize("policy", [Policy.VERSION_VECTOR, Policy.MANUAL, "custom:longest", "custom:missing"])
def test_equal_values_are_no_conflict(policy: str) -> None:
    item = (_version("a~1", 1, {"x": 1, "y": 2}, policy=policy), _version("b~1", 2, {"y": 2, "x": 1}, policy=policy))
    resolved = read(item)
    assert (resolved.is_conflict, resolved.needs_person, resolved.why) == (False, False, "")


def test_a_function_decides_and_is_shown_every_side() -> None:
    item = (_version("a~1", 1, "longer", policy="custom:longest"), _version("b~1", 2, "short", policy="custom:longest"))
    seen: list[Side] = []

    def decide(sides: Sequence[Side]) -> object:
        seen.extend(sides)
        return [side.value for side in sides]

    assert read(item).value == "longer"
    assert resolve(item, now_ms=1, customs={"longest": decide}).value == ["short", "longer"]
    assert [side.header.actor for side in seen] == ["b~1", "a~1"]


def _raises(_: Sequence[Side]) -> object:
    raise ValueError("cannot say")


def _returns_no_json(_: Sequence[Side]) -> object:
    return object()


@pytest.mark.parametrize(
    ("customs", "why"),
    [
        (dict[str, Custom](), "custom:f is not known here"),
        ({"f": _raises}, "custom:f failed: ValueError: cannot say"),
        ({"f": _returns_no_json}, "custom:f failed: InvalidPayloadError"),
    ],
)
def test_a_function_without_an_answer_leaves_it_to_a_person(customs: dict[str, Custom], why: str) -> None:
    item = _siblings(1, 3, 2, policy="custom:f")
    resolved = resolve(item, now_ms=1, customs=customs)
    assert (resolved.value, resolved.is_conflict, resolved.needs_person) == ("ben~1", True, True)
    assert resolved.why.startswith(why)


def test_a_policy_that_only_newer_nodes_know_leaves_it_to_a_person() -> None:
    assert read(_siblings(1, 3, 2, policy="newer")).needs_person


@pytest.mark.parametrize("policy", POLICIES)
def test_a_deletion_does_not_take_away_what_it_had_not_seen(policy: str) -> None:
    edit, deletion = _version("ann~1", 1, "edit", policy=policy), _version("ben~1", 9, None, is_deleted=True)
    assert read((edit, deletion)).value == "edit"
    assert not read((edit, deletion)).is_conflict


def test_of_concurrent_lifetimes_the_longest_lasts() -> None:
    short, long = _version("ann~1", 2, "short", expires_ms=100), _version("ben~1", 1, "long", expires_ms=200)
    item = (short, long)
    assert [read(item, now_ms=now_ms).value for now_ms in (99, 100, 199, 200)] == ["short", "long", "long", None]
    merged = (_map("ann~1", 2, {"a": 1}, expires_ms=100), _map("ben~1", 1, {"b": 1}, expires_ms=200))
    assert read(merged, now_ms=50).expires_ms == 200
    assert read((*merged, _map("eve~1", 3, {"c": 1})), now_ms=50).expires_ms == 0


def test_the_policy_of_the_latest_sibling_counts() -> None:
    manual, later = _version("ann~1", 1, 1, policy=Policy.MANUAL), _version("ben~1", 2, 2, policy=Policy.LATEST_WINS)
    assert not read((manual, later)).is_conflict
    earlier = _version("ben~1", 0, 2, policy=Policy.LATEST_WINS)
    assert read((manual, earlier)).needs_person


@pytest.mark.parametrize("policy", POLICIES)
def test_counters_add_up_under_every_policy(policy: str) -> None:
    item = tuple(_counter(actor, by, policy=policy) for actor, by in zip(CONCURRENT, (1, 2, 3), strict=True))
    resolved = read(item)
    assert (resolved.value, resolved.is_merged, resolved.is_conflict, resolved.losers) == (6, True, False, ())


def test_a_value_of_another_kind_beside_a_counter_is_a_loser() -> None:
    counter, text = _counter("eve~1", 4, policy=Policy.LATEST_WINS), _version("ann~1", 0, "text")
    assert (read((counter, text)).value, read((counter, text)).losers) == (4, (text,))


def _siblings(*times: int, policy: str = Policy.LATEST_WINS) -> tuple[Version, ...]:
    named = zip(CONCURRENT, times, strict=True)
    return tuple(_version(actor, ms, actor, policy=policy) for actor, ms in named)


def _version(
    actor: str,
    ms: int,
    value: object,
    *,
    policy: str = Policy.LATEST_WINS,
    tick: int = 0,
    rank: int = 0,
    expires_ms: int = 0,
    is_deleted: bool = False,
) -> Version:
    header = Header(
        actor=actor,
        seq=1,
        observed={},
        ms=ms,
        tick=tick,
        key=KEY,
        policy=policy,
        rank=rank,
        expires_ms=expires_ms,
        flags=Flag.TOMBSTONE if is_deleted else Flag.NONE,
    )
    return SEAL.make(header, b"" if is_deleted else plain(value)(header))


def _map(actor: str, ms: int, value: dict[str, int], *, expires_ms: int = 0) -> Version:
    header = Header(
        actor=actor,
        seq=1,
        observed={},
        ms=ms,
        key=KEY,
        policy=Policy.MERGE_COMPATIBLE,
        kind=Kind.MAP,
        expires_ms=expires_ms,
    )
    return SEAL.make(header, merged_map(value, ())(header))


def _counter(actor: str, by: int, *, policy: str) -> Version:
    header = Header(actor=actor, seq=1, observed={}, ms=by, key=KEY, policy=policy, kind=Kind.COUNTER)
    return SEAL.make(header, counted((), by)(header))
