"""Identifiers are unique, short, and sort by the time they were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.clock import ManualClock, system_clock
from meshd.errors import InvalidArgumentError
from meshd.ids import check_name, new_id


def test_ids_made_in_a_burst_are_unique() -> None:
    assert len({new_id() for _ in range(500)}) == 500


def test_ids_made_later_sort_later() -> None:
    clock = ManualClock()
    ids: list[str] = []
    for _ in range(500):
        ids.append(new_id(clock))
        clock.advance(ms=1)
    assert ids == sorted(ids)


@given(early=st.integers(0, 2**48 - 1), late=st.integers(0, 2**48 - 1))
def test_ids_compare_like_their_times(early: int, late: int) -> None:
    if early < late:
        assert new_id(ManualClock(early)) < new_id(ManualClock(late))


def test_an_id_is_twenty_six_letters_and_digits() -> None:
    made = new_id()
    assert len(made) == 26
    assert made.isalnum()
    assert check_name("task", made) == made


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", fullmatch=True))
def test_a_good_name_is_returned_unchanged(name: str) -> None:
    assert check_name("node", name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a+b", "a/b", "a{b}", "ä", "a\n", "x" * 65])
def test_a_bad_name_is_refused_with_its_kind(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="node"):
        check_name("node", name)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(1_000)
    clock.advance(ms=5, seconds=1.5)
    assert (clock(), clock()) == (2_505, 2_505)


def test_the_system_clock_tells_milliseconds_since_1970() -> None:
    assert 1_600_000_000_000 < system_clock() < 10_000_000_000_000
