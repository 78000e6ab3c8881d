"""The rules of a vote: exact numbers, who is refused and how, and what no order of votes can change."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import AlreadyVotedError, ClosedError, FencedError, InvalidArgumentError, NotElectorError
from meshd.votes.model import CastVote, Choice, Elector, Proposal, ProposalState, Quorum
from meshd.votes.tally import (
    cast,
    choice_of,
    elector_of,
    needed,
    open_proposal,
    permil,
    reach,
    settle,
    tally,
    withdraw,
)

YES, NO, ABSTAIN = Choice
SIXTY = Quorum()
PENDING, ACCEPTED, REJECTED, EXPIRED = ProposalState


def electors(count: int) -> tuple[Elector, ...]:
    return tuple(Elector(id=f"a{number:04}", incarnation=3) for number in range(count))


def opened(electorate: Sequence[Elector] | int = 5, quorum: Quorum = SIXTY) -> Proposal:
    electorate = electors(electorate) if isinstance(electorate, int) else tuple(electorate)
    return open_proposal(Proposal(id="p1", proposer="me", electorate=electorate, quorum=quorum, expires_ms=30_000))


def a_vote(
    number: int, choice: Choice = YES, *, intensity: int = 1_000, incarnation: int = 3, at_ms: int = 1, reason: str = ""
) -> CastVote:
    return CastVote(
        voter=f"a{number:04}",
        choice=choice,
        incarnation=incarnation,
        intensity_permil=intensity,
        at_ms=at_ms,
        reason=reason,
    )


def after(proposal: Proposal, *choices: Choice) -> Proposal:
    """Return the proposal after the first electors chose so, one after another, as long as votes are taken."""
    for number, choice in enumerate(choices):
        if proposal.state is PENDING:
            proposal = cast(proposal, a_vote(number, choice))
    return proposal


def test_the_third_of_five_yes_accepts() -> None:
    assert after(opened(5), YES, YES).state is PENDING
    assert after(opened(5), YES, YES, YES).state is ACCEPTED


def test_the_third_of_four_yes_accepts() -> None:
    assert opened(4).need == 3
    assert after(opened(4), YES, YES).state is PENDING
    assert after(opened(4), YES, YES, YES).state is ACCEPTED


def test_the_second_of_four_noes_rejects() -> None:
    assert after(opened(4), NO).state is PENDING
    assert after(opened(4), NO, NO).state is REJECTED


def test_abstentions_make_acceptance_impossible_too() -> None:
    assert after(opened(5), ABSTAIN, NO).state is PENDING
    assert after(opened(5), ABSTAIN, NO, ABSTAIN).state is REJECTED


@pytest.mark.parametrize(
    ("size", "quorum", "need"),
    [
        (1, 600, 1), (2, 600, 2), (3, 600, 2), (4, 600, 3), (5, 600, 3), (6, 600, 4), (10, 600, 6), (1_000, 600, 600),
        (7, 1_000, 7), (7, 1, 1), (3, 667, 3), (3, 666, 2), (1_000, 501, 501),
    ],
)  # fmt: skip
def test_what_is_needed_is_rounded_up_in_whole_numbers(size: int, quorum: int, need: int) -> None:
    assert needed(electors(size), Quorum(permil=quorum)) == need


def test_a_count_is_needed_whatever_the_size() -> None:
    assert needed(electors(9), Quorum(count=2)) == 2
    assert needed(electors(9), Quorum(count=2, weighted=True)) == 2_000


@pytest.mark.parametrize("quorum", [Quorum(count=6), Quorum(permil=1_001), Quorum(permil=-1), Quorum(count=-1)])
def test_a_quorum_nobody_can_reach_is_refused(quorum: Quorum) -> None:
    with pytest.raises(InvalidArgumentError):
        opened(5, quorum)


def test_nobody_cannot_vote() -> None:
    with pytest.raises(InvalidArgumentError, match="electorate of 0"):
        opened(0)


def test_too_many_cannot_vote() -> None:
    assert opened(1_000).need == 600
    with pytest.raises(InvalidArgumentError, match="electorate of 1001"):
        opened(1_001)


@pytest.mark.parametrize(
    ("electorate", "words"),
    [
        ([Elector(id="a"), Elector(id="a", incarnation=2)], "named twice"),
        ([Elector(id="a b")], "not a valid name"),
        ([Elector(id="a", weight=0)], "weight 0"),
    ],
)
def test_an_electorate_that_is_none_is_refused(electorate: Sequence[Elector], words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        opened(electorate)


@pytest.mark.parametrize("timeout_ms", [0, -5, 31 * 86_400_000])
def test_a_timeout_that_is_none_is_refused(timeout_ms: int) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        open_proposal(Proposal(id="p", proposer="me", electorate=electors(1), expires_ms=timeout_ms))


def test_strangers_are_refused() -> None:
    with pytest.raises(NotElectorError) as caught:
        cast(opened(3), CastVote(voter="stranger", choice=YES, at_ms=1))
    assert (caught.value.proposal_id, caught.value.voter) == ("p1", "stranger")


def test_the_first_vote_is_final_and_saying_it_again_is_fine() -> None:
    once = cast(opened(5), a_vote(0, YES))
    assert cast(once, a_vote(0, YES, at_ms=9, reason="still")) is once
    with pytest.raises(AlreadyVotedError) as caught:
        cast(once, a_vote(0, NO))
    assert caught.value.choice == "yes"
    with pytest.raises(AlreadyVotedError):
        cast(once, a_vote(0, YES, intensity=500))


def test_a_vote_that_decided_may_be_repeated_after_the_close() -> None:
    decided = after(opened(1), YES)
    assert cast(decided, a_vote(0, YES)) is decided
    with pytest.raises(AlreadyVotedError):
        cast(decided, a_vote(0, NO))


def test_votes_after_the_decision_are_refused() -> None:
    with pytest.raises(ClosedError) as caught:
        cast(after(opened(5), YES, YES, YES), a_vote(4, NO))
    assert caught.value.state == "accepted"


@pytest.mark.parametrize(("at_ms", "is_open"), [(29_999, True), (30_000, False), (30_001, False)])
def test_time_is_judged_when_a_vote_is_cast(at_ms: int, is_open: bool) -> None:
    if is_open:
        assert len(cast(opened(5), a_vote(0, at_ms=at_ms)).votes) == 1
        return
    with pytest.raises(ClosedError) as caught:
        cast(opened(5), a_vote(0, at_ms=at_ms))
    assert caught.value.state == "expired"


def test_time_ends_only_what_is_pending() -> None:
    pending, accepted = opened(5), after(opened(1), YES)
    assert settle(pending, now_ms=29_999) is pending
    assert settle(pending, now_ms=40_000) == replace(pending, state=EXPIRED, decided_ms=30_000)
    assert settle(accepted, now_ms=40_000) is accepted


def test_a_restarted_voter_votes_if_its_earlier_life_did_not() -> None:
    assert cast(opened(5), a_vote(0, NO, incarnation=4)).votes["a0000"].incarnation == 4
    voted = cast(opened(5), a_vote(0, YES))
    with pytest.raises(AlreadyVotedError):
        cast(voted, a_vote(0, NO, incarnation=4))
    assert cast(voted, a_vote(0, YES, incarnation=4)) is voted


def test_a_life_that_ended_before_the_proposal_may_not_vote() -> None:
    with pytest.raises(FencedError) as caught:
        cast(opened(5), a_vote(0, incarnation=2))
    assert (caught.value.token, caught.value.current) == (2, 3)


def test_one_veto_rejects() -> None:
    electorate = (*electors(4), Elector(id="b", may_veto=True))
    proposal = after(opened(electorate), YES, YES)
    assert cast(proposal, CastVote(voter="b", choice=NO, at_ms=5)).state is REJECTED
    assert cast(proposal, CastVote(voter="b", choice=ABSTAIN, at_ms=5)).state is PENDING
    assert cast(proposal, a_vote(2, NO)).state is PENDING


def test_a_weighted_quorum_counts_weight_and_intensity() -> None:
    electorate = (Elector(id="big", weight=3), Elector(id="one"), Elector(id="two"))
    proposal = opened(electorate, Quorum(weighted=True))
    assert (proposal.need, tally(proposal).undecided) == (3_000, 5_000)
    proposal = cast(proposal, CastVote(voter="big", choice=YES, intensity_permil=800, at_ms=1))
    counted = tally(proposal)
    assert (counted.yes, counted.undecided, counted.total, counted.weighted) == (2_400, 2_000, 5_000, True)
    assert cast(proposal, CastVote(voter="one", choice=YES, intensity_permil=600, at_ms=2)).state is ACCEPTED
    weak = cast(proposal, CastVote(voter="one", choice=YES, intensity_permil=599, at_ms=2))
    assert weak.state is PENDING
    assert cast(weak, CastVote(voter="two", choice=YES, intensity_permil=1, at_ms=3)).state is ACCEPTED


def test_weak_yes_can_make_a_weighted_quorum_impossible() -> None:
    proposal = opened(2, Quorum(weighted=True))
    assert cast(proposal, a_vote(0, YES, intensity=199)).state is REJECTED


def test_an_open_quorum_is_decided_by_who_asks() -> None:
    proposal = after(opened(5, Quorum(permil=0)), YES, NO, NO, NO)
    assert (proposal.need, proposal.state) == (0, PENDING)
    assert reach(proposal, count=2, now_ms=9) is proposal
    reached = reach(proposal, count=1, now_ms=9)
    assert (reached.state, reached.need, reached.decided_ms) == (ACCEPTED, 1, 9)
    assert reach(reached, count=5, now_ms=10) is reached
    assert reach(proposal, count=1, now_ms=30_000).state is EXPIRED
    with pytest.raises(InvalidArgumentError):
        reach(proposal, count=0, now_ms=9)


def test_a_fixed_quorum_is_nobodys_to_lower() -> None:
    proposal = after(opened(5), YES)
    assert reach(proposal, count=1, now_ms=9) is proposal


def test_what_is_superseded_takes_no_votes_and_a_decision_stays() -> None:
    ended = withdraw(opened(5), now_ms=7)
    assert (ended.state, ended.decided_ms) == (EXPIRED, 7)
    accepted = after(opened(1), YES)
    assert withdraw(accepted, now_ms=7) is accepted


def test_choices_are_said_in_many_ways() -> None:
    assert [choice_of(said) for said in (True, False, "yes", "no", "abstain", YES)] == [YES, NO, YES, NO, ABSTAIN, YES]
    with pytest.raises(InvalidArgumentError, match="yes, no, abstain"):
        choice_of("maybe")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_intensity_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(InvalidArgumentError, match="intensity"):
        permil(share)


def test_a_vote_over_its_limits_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="501 characters"):
        cast(opened(3), a_vote(0, reason="x" * 501))
    with pytest.raises(InvalidArgumentError, match="intensity"):
        cast(opened(3), a_vote(0, intensity=1_001))


ELECTORATES = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=12)
QUORUMS = st.builds(Quorum, permil=st.integers(1, 1_000), weighted=st.booleans())
CHOICES = st.sampled_from(Choice)


def proposed(shape: Sequence[tuple[int, bool]], quorum: Quorum) -> Proposal:
    return opened(
        [
            Elector(id=f"a{number:04}", incarnation=3, weight=weight, may_veto=veto)
            for number, (weight, veto) in enumerate(shape)
        ],
        quorum,
    )


@given(ELECTORATES, QUORUMS, st.data())
def test_a_decision_never_flips_and_need_never_shrinks(
    shape: Sequence[tuple[int, bool]], quorum: Quorum, data: st.DataObject
) -> None:
    proposal, now_ms = proposed(shape, quorum), 0
    for _ in range(data.draw(st.integers(0, 30))):
        before = proposal
        now_ms += data.draw(st.integers(0, 5_000))
        vote = a_vote(
            data.draw(st.integers(0, len(shape))),
            data.draw(CHOICES),
            intensity=data.draw(st.integers(0, 1_000)),
            incarnation=data.draw(st.integers(2, 5)),
            at_ms=now_ms,
        )
        try:
            proposal = cast(proposal, vote)
        except (NotElectorError, AlreadyVotedError, FencedError, ClosedError):
            proposal = settle(proposal, now_ms=now_ms)
        proposal = reach(proposal, count=data.draw(st.integers(1, 3)), now_ms=now_ms)
        assert proposal.need == before.need == needed(proposal.electorate, quorum)
        assert proposal.electorate == before.electorate
        assert before.votes.items() <= proposal.votes.items()
        if before.state.is_decided:
            assert proposal is before
        if proposal.state is ACCEPTED:
            assert tally(proposal).yes >= proposal.need


@given(st.lists(CHOICES, min_size=1, max_size=12), st.integers(1, 1_000), st.randoms(use_true_random=False))
def test_without_vetoes_the_order_of_votes_decides_nothing(
    choices: Sequence[Choice], quorum: int, rng: random.Random
) -> None:
    votes = [a_vote(number, choice) for number, choice in enumerate(choices)]
    ends: set[ProposalState] = set()
    for _ in range(5):
        rng.shuffle(votes)
        proposal = opened(len(votes), Quorum(permil=quorum))
        for vote in votes:
            proposal = proposal if proposal.state.is_decided else cast(proposal, vote)
        ends.add(proposal.state)
    assert len(ends) == 1
    assert ends <= {ACCEPTED, REJECTED}


@given(ELECTORATES, QUORUMS, st.randoms(use_true_random=False))
def test_who_may_vote_does_not_depend_on_who_did(
    shape: Sequence[tuple[int, bool]], quorum: Quorum, rng: random.Random
) -> None:
    proposal = proposed(shape, quorum)
    numbers = list(range(len(shape)))
    rng.shuffle(numbers)
    for number in numbers[: len(numbers) // 2]:
        if proposal.state is PENDING:
            proposal = cast(proposal, a_vote(number, rng.choice(list(Choice))))
    assert [elector_of(proposal, elector.id) for elector in proposal.electorate] == list(proposal.electorate)
