"""The rules of a lease, without a store."""

from dataclasses import replace
from datetime import timedelta

import pytest

from meshd.errors import InvalidArgumentError
from meshd.votes.leading import Accept, Follow, Lease, Stand, Term, decide, is_handed_over

TERM = Term(scope="s", holder="a", token=7, nonce="theirs", since_ms=0, left_ms=6_000, lease_ms=10_000)


def test_by_default_a_lease_lasts_ten_seconds_and_is_renewed_after_three() -> None:
    assert (Lease().length_ms, Lease().renewal_s, Lease().delay) == (10_000, 3.0, timedelta(0))


def test_a_leader_counts_on_four_fifths_from_before_it_asked() -> None:
    assert Lease().trusted_until(100.0) == 108.0
    assert Lease(length=timedelta(seconds=2)).trusted_until(100.0) == 101.6


def test_a_leader_has_two_renewals_to_lose_before_it_stops() -> None:
    lease = Lease()
    assert 2 * lease.renewal_s < lease.trusted_until(0.0) < lease.length.total_seconds()


@pytest.mark.parametrize("lease", [{"length": timedelta(0)}, {"delay": timedelta(seconds=-1)}])
def test_a_lease_that_cannot_be_kept_is_refused(lease: dict[str, timedelta]) -> None:
    with pytest.raises(InvalidArgumentError, match="lease"):
        Lease(**lease)


def test_who_sees_nobody_stands() -> None:
    assert decide(None, nonce="mine", chance=0.5) == Stand()


def test_who_sees_its_own_term_takes_it_whatever_name_it_bears() -> None:
    assert decide(replace(TERM, nonce="mine"), nonce="mine", chance=0.5) == Accept(token=7)
    assert isinstance(decide(replace(TERM, holder="me"), nonce="mine", chance=0.5), Follow)


def test_a_follower_looks_again_just_after_the_lease_it_saw() -> None:
    assert decide(TERM, nonce="mine", chance=0.0) == Follow(seconds=6.0)
    assert decide(TERM, nonce="mine", chance=1.0) == Follow(seconds=6.5)
    assert decide(replace(TERM, left_ms=-5), nonce="mine", chance=0.0) == Follow(seconds=0.0)


def test_a_term_is_handed_over_only_by_the_word_of_the_leader_seen_last() -> None:
    assert is_handed_over(seen=7, resigned=7)
    assert not is_handed_over(seen=8, resigned=7)
    assert not is_handed_over(seen=0, resigned=0)
