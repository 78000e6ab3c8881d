"""When a node makes room for a suspect."""

from random import Random

from meshd.runtime.quarantine import FIRST_TRY_S, PATIENCE_S, Quarantine

LONGEST_PATIENCE_S = 4 * PATIENCE_S


def test_an_empty_node_takes_a_suspect_at_once() -> None:
    quarantine = Quarantine(Random(1))
    quarantine.told(suspects_wait=True, now=10.0)
    assert quarantine.should_claim_alone(is_empty=True, now=10.0)
    assert not quarantine.should_claim_alone(is_empty=False, now=10.0)


def test_a_busy_node_makes_room_only_after_its_patience() -> None:
    quarantine = Quarantine(Random(1))
    quarantine.told(suspects_wait=True, now=10.0)
    assert not quarantine.wants_room(now=10.0)
    assert quarantine.wants_room(now=10.0 + LONGEST_PATIENCE_S)


def test_no_room_is_made_once_somebody_else_took_the_suspect() -> None:
    quarantine = Quarantine(Random(1))
    quarantine.told(suspects_wait=True, now=10.0)
    quarantine.told(suspects_wait=False, now=10.1)
    assert not quarantine.wants_room(now=100.0)
    assert not quarantine.is_concerned


def test_tries_double_and_each_is_followed_by_as_long_a_rest() -> None:
    quarantine = Quarantine(Random(1))
    now = 10.0
    quarantine.told(suspects_wait=True, now=now)
    now += LONGEST_PATIENCE_S
    for length in (FIRST_TRY_S, 2 * FIRST_TRY_S, 4 * FIRST_TRY_S):
        assert quarantine.wants_room(now=now)
        assert quarantine.wants_room(now=now + length - 0.01)
        now += length
        assert not quarantine.wants_room(now=now)
        assert not quarantine.wants_room(now=now + length - 0.01)
        now += length


def test_a_claim_that_brought_nothing_is_not_repeated_at_once() -> None:
    quarantine = Quarantine(Random(1))
    quarantine.told(suspects_wait=True, now=10.0)
    quarantine.missed(now=10.0)
    assert not quarantine.should_claim_alone(is_empty=True, now=10.0)
    assert quarantine.should_claim_alone(is_empty=True, now=10.0 + PATIENCE_S)
