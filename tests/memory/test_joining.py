"""The join: the same for every order, grouping and repetition of what is received."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshd.memory.joining import admit, behind, cover, is_spent, join, last_of, observed_in
from meshd.memory.model import Applied, Dot, Header, Item, Version
from meshd.memory.sealing import pack_item
from tests.memory.histories import KEY, NOW_MS, History, Step, histories, play, value
from tests.memory.mesh import SEAL

CLOCKS = st.dictionaries(st.sampled_from("abc"), st.integers(1, 9))


@st.composite
def items(draw: st.DrawFn, count: int = 3) -> list[Item]:
    """Return states of stores that have received different parts of one history."""
    versions = draw(histories()).versions
    parts = [draw(st.lists(st.sampled_from(versions))) if versions else [] for _ in range(count)]
    return [received(_with_past(part, versions)) for part in parts]


def _with_past(part: Sequence[Version], versions: Sequence[Version]) -> list[Version]:
    """Return versions with all that their writers had seen, in the order they were written."""
    known = {version.dot for version in part}
    for version in reversed(versions):
        if version.dot in known:
            header = version.header
            seen = {**header.observed, header.actor: header.seq}
            known |= {each.dot for each in versions if seen.get(each.header.actor, 0) >= each.header.seq}
    return [version for version in versions if version.dot in known]


def received(versions: Sequence[Version]) -> Item:
    """Return the item of a store that received these versions in this order."""
    item: Item = ()
    for version in versions:
        _, item = admit(item, version, {})
    return item


@given(items())
def test_join_is_commutative_associative_and_idempotent(states: list[Item]) -> None:
    a, b, c = states
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c)) == join(a, b, c)
    assert join(a, a) == a
    assert join(a, join(a, b)) == join(a, b)
    assert join(a, ()) == a


@given(histories(), st.data())
def test_every_order_of_arrival_gives_the_same_bytes(history: History, data: st.DataObject) -> None:
    versions = history.versions
    again = data.draw(st.lists(st.sampled_from(versions), max_size=6)) if versions else []
    order = data.draw(st.permutations([*versions, *again]))
    assert pack_item(received(order)) == pack_item(received(versions)) == pack_item(join(tuple(versions)))


@given(histories())
def test_what_is_left_is_what_nobody_has_superseded(history: History) -> None:
    left = {version.dot for version in history.item if version.is_live(NOW_MS)}
    assert left == history.oracle.live(KEY, now_ms=NOW_MS)


@given(histories())
def test_an_actor_has_one_sibling_at_most(history: History) -> None:
    actors = [version.header.actor for version in history.item]
    assert len(actors) == len(set(actors))


@given(histories())
def test_a_version_is_later_than_all_it_has_observed(history: History) -> None:
    for made in history.oracle.made.values():
        assert all(history.oracle.made[dot].version.header.time < made.version.header.time for dot in made.past)


@given(histories(), st.data())
def test_a_store_that_knows_a_version_by_its_clock_does_not_take_it_again(
    history: History, data: st.DataObject
) -> None:
    clock: dict[str, int] = {}
    for version in history.versions:
        clock[version.header.actor] = max(clock.get(version.header.actor, 0), version.header.seq)
    for version in data.draw(st.permutations(history.versions)):
        assert admit(history.item, version, clock) == (Applied.KNOWN, history.item)
        assert admit((), version, clock) == (Applied.KNOWN, ())


def test_admit_says_what_became_of_a_version() -> None:
    write = Step(writer=0, source=0, act="write", part="x", number=1)
    catch_up = Step(writer=1, source=0, act="catch up", part="x", number=1)
    other = Step(writer=1, source=0, act="write", part="y", number=1)
    first, second, beside = play([write, catch_up, other, write], make=value).versions
    assert admit((), first, {})[0] is Applied.APPLIED
    assert admit((first,), second, {}) == (Applied.APPLIED, (second,))
    assert admit((second,), first, {}) == (Applied.OBSOLETE, (second,))
    assert admit((second,), second, {})[0] is Applied.KNOWN
    assert admit((second,), beside, {}) == (Applied.SIBLING, (beside, second))
    assert admit((), first, {"ann~1": 1})[0] is Applied.KNOWN


def test_a_version_observes_what_its_siblings_had() -> None:
    item = (_version("a", 4, {"c": 2}), _version("b", 3, {"a": 1, "c": 7}))
    assert observed_in(item, actor="d") == {"a": 4, "b": 3, "c": 7}
    assert observed_in(item, actor="c") == {"a": 4, "b": 3}


def test_what_an_actor_wrote_last_is_known_from_what_others_observed() -> None:
    item = (_version("a", 4, {"c": 2}), _version("b", 3, {"a": 5}))
    assert [last_of(item, actor=actor) for actor in "abcd"] == [5, 3, 2, 0]


def test_an_item_is_spent_once_nothing_lives_and_all_it_saw_is_covered() -> None:
    gone = _version("a", 4, {"b": 2}, expires_ms=5)
    assert is_spent((gone,), covered={"a": 4, "b": 2}, now_ms=5)
    assert not is_spent((gone,), covered={"a": 4, "b": 2}, now_ms=4)
    assert not is_spent((gone,), covered={"a": 4, "b": 1}, now_ms=5)
    assert not is_spent((gone,), covered={"a": 3, "b": 2}, now_ms=5)
    assert not is_spent((gone, _version("c", 1, {})), covered={"a": 4, "b": 2, "c": 1}, now_ms=5)


@given(CLOCKS, CLOCKS)
def test_covering_two_clocks_leaves_neither_behind(one: dict[str, int], other: dict[str, int]) -> None:
    both = cover(one, other)
    assert both == cover(other, one)
    assert behind(both, one) == behind(both, other) == {}
    assert behind(one, both) == {actor: one.get(actor, 0) for actor in other if other[actor] > one.get(actor, 0)}


def _version(actor: str, seq: int, observed: dict[str, int], *, expires_ms: int = 0) -> Version:
    header = Header(actor=actor, seq=seq, observed=observed, ms=1, key=KEY, expires_ms=expires_ms)
    assert header.dot == Dot(actor, seq)
    return SEAL.make(header, b"1")
