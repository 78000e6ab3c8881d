"""The rules of a vote: who may, what counts, when it is over.

Invariant: a decided proposal never changes, and what is needed to accept one never shrinks. Whole numbers only, so two
readers of the same votes always conclude the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from meshd.errors import AlreadyVotedError, ClosedError, FencedError, InvalidArgumentError, NotElectorError
from meshd.ids import check_name
from meshd.votes.model import CastVote, Choice, Elector, Proposal, ProposalState, Quorum

FULL = 1_000
"""Thousandths in one: what an elector of weight 1 counts in a weighted quorum at full intensity."""
MAX_ELECTORS = 1_000
MAX_WEIGHT = 1_000_000
MAX_REASON_CHARACTERS = 500
MAX_TIMEOUT_MS = 30 * 86_400_000
MAX_INCARNATION = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Where a vote stands: in heads, or in thousandths of weight when `weighted`."""

    yes: int
    no: int
    abstain: int
    undecided: int
    """What those who did not vote yet can still add to yes."""
    total: int
    need: int
    weighted: bool

    @property
    def is_accepted(self) -> bool:
        return 0 < self.need <= self.yes

    @property
    def is_impossible(self) -> bool:
        """Whether no further votes can accept it."""
        return self.yes + self.undecided < self.need


def open_proposal(proposal: Proposal) -> Proposal:
    """Return the proposal with its electorate frozen: sorted, checked, and what is needed computed from it.

    Raises:
        InvalidArgumentError: nobody may vote, somebody stands there twice, or the quorum can never be reached.
    """
    check_name("proposal", proposal.id)
    check_name("proposal type", proposal.type)
    electorate = _frozen(proposal.electorate)
    if not 0 < proposal.expires_ms - proposal.created_ms <= MAX_TIMEOUT_MS:
        raise InvalidArgumentError(
            f"proposal {proposal.id}: a timeout of {proposal.expires_ms - proposal.created_ms} ms is not between 1 ms "
            "and 30 days"
        )
    need = needed(electorate, proposal.quorum)
    return replace(proposal, electorate=electorate, need=need, state=ProposalState.PENDING, votes={})


def needed(electorate: Sequence[Elector], quorum: Quorum) -> int:
    """Return how much yes accepts, in heads or in thousandths of weight; 0 when whoever asks names the count.

    Raises:
        InvalidArgumentError: no quorum means this, or the electorate can never reach it.
    """
    total = _total(electorate, weighted=quorum.weighted)
    if not 0 <= quorum.permil <= FULL or quorum.count < 0:
        raise InvalidArgumentError(f"quorum of {quorum.permil} permil, count {quorum.count}: use 1 to 1000, or a count")
    if quorum.count == 0:
        return -(-total * quorum.permil // FULL)
    need = quorum.count * (FULL if quorum.weighted else 1)
    if need > total:
        raise InvalidArgumentError(
            f"a quorum of {quorum.count} can never be reached by {len(electorate)} electors: lower it, or ask more"
        )
    return need


def tally(proposal: Proposal) -> Tally:
    """Return where the vote stands."""
    weighted = proposal.quorum.weighted
    sums = dict.fromkeys(Choice, 0)
    undecided = 0
    for elector in proposal.electorate:
        vote = proposal.votes.get(elector.id)
        if vote is None:
            undecided += elector.weight * FULL if weighted else 1
        else:
            sums[vote.choice] += elector.weight * vote.intensity_permil if weighted else 1
    return Tally(
        yes=sums[Choice.YES],
        no=sums[Choice.NO],
        abstain=sums[Choice.ABSTAIN],
        undecided=undecided,
        total=_total(proposal.electorate, weighted=weighted),
        need=proposal.need,
        weighted=weighted,
    )


def cast(proposal: Proposal, vote: CastVote) -> Proposal:
    """Return the proposal with this vote, decided if it decides; unchanged when the voter said the same before.

    Raises:
        NotElectorError: the voter is not in the electorate.
        FencedError: the voter was restarted before the electorate was frozen; this is its earlier life.
        AlreadyVotedError: the voter, or an earlier life of it, said something else.
        ClosedError: the proposal is decided, or its time is over.
    """
    _check_vote(vote)
    elector = elector_of(proposal, vote.voter)
    if vote.incarnation < elector.incarnation:
        raise FencedError(
            f"voter {vote.voter} of proposal {proposal.id}", token=vote.incarnation, current=elector.incarnation
        )
    before = proposal.votes.get(vote.voter)
    if before is not None:
        if (before.choice, before.intensity_permil) == (vote.choice, vote.intensity_permil):
            return proposal
        raise AlreadyVotedError(proposal.id, voter=vote.voter, choice=before.choice)
    at_end = settle(proposal, now_ms=vote.at_ms)
    if at_end.state.is_decided:
        raise ClosedError(proposal.id, state=at_end.state)
    return _decided(replace(proposal, votes={**proposal.votes, vote.voter: vote}), elector, vote)


def elector_of(proposal: Proposal, voter: str) -> Elector:
    """Return the elector of this id.

    Raises:
        NotElectorError: there is none.
    """
    for elector in proposal.electorate:
        if elector.id == voter:
            return elector
    raise NotElectorError(proposal.id, voter=voter)


def settle(proposal: Proposal, *, now_ms: int) -> Proposal:
    """Return the proposal as time leaves it: expired when it was pending and its time is over."""
    if proposal.state.is_decided or now_ms < proposal.expires_ms:
        return proposal
    return _ended(proposal, ProposalState.EXPIRED, proposal.expires_ms)


def withdraw(proposal: Proposal, *, now_ms: int) -> Proposal:
    """Return the proposal as it is once another takes its place: expired, unless it was decided before."""
    return proposal if proposal.state.is_decided else _ended(proposal, ProposalState.EXPIRED, now_ms)


def reach(proposal: Proposal, *, count: int, now_ms: int) -> Proposal:
    """Return the proposal, accepted if it left the count to whoever asks and has so many yes.

    Raises:
        InvalidArgumentError: `count` is under 1.
    """
    if count < 1:
        raise InvalidArgumentError(f"a quorum of {count} decides nothing: ask for 1 or more")
    current = settle(proposal, now_ms=now_ms)
    if current.state.is_decided or current.need or tally(current).yes < count:
        return current
    return _ended(replace(current, need=count), ProposalState.ACCEPTED, now_ms)


def choice_of(said: Choice | bool | str) -> Choice:
    """Return what was said: a choice, its name, or whether one supports it.

    Raises:
        InvalidArgumentError: it is none of these.
    """
    if isinstance(said, bool):
        return Choice.YES if said else Choice.NO
    try:
        return Choice(said)
    except ValueError:
        raise InvalidArgumentError(f"choice {said!r} is not one of {', '.join(Choice)}") from None


def permil(share: float, *, what: str = "intensity") -> int:
    """Return a share of 0 to 1 in thousandths.

    Raises:
        InvalidArgumentError: it is outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InvalidArgumentError(f"{what} {share} is not 0 to 1")
    return round(share * FULL)


def _decided(proposal: Proposal, elector: Elector, vote: CastVote) -> Proposal:
    counted = tally(proposal)
    if vote.choice is Choice.NO and elector.may_veto:
        return _ended(proposal, ProposalState.REJECTED, vote.at_ms)
    if counted.is_accepted:
        return _ended(proposal, ProposalState.ACCEPTED, vote.at_ms)
    if counted.is_impossible:
        return _ended(proposal, ProposalState.REJECTED, vote.at_ms)
    return proposal


def _ended(proposal: Proposal, state: ProposalState, at_ms: int) -> Proposal:
    return replace(proposal, state=state, decided_ms=at_ms)


def _frozen(electorate: Iterable[Elector]) -> tuple[Elector, ...]:
    electors = tuple(sorted(electorate, key=lambda elector: elector.id))
    if not 1 <= len(electors) <= MAX_ELECTORS:
        raise InvalidArgumentError(
            f"an electorate of {len(electors)} cannot vote: name 1 to {MAX_ELECTORS} electors, or start nodes with "
            "agents"
        )
    seen: set[str] = set()
    for elector in electors:
        check_name("elector", elector.id)
        if elector.id in seen:
            raise InvalidArgumentError(f"elector {elector.id} is named twice: one vote each")
        if not 1 <= elector.weight <= MAX_WEIGHT:
            raise InvalidArgumentError(f"elector {elector.id}: weight {elector.weight} is not 1 to {MAX_WEIGHT}")
        seen.add(elector.id)
    return electors


def _check_vote(vote: CastVote) -> None:
    if not 0 <= vote.intensity_permil <= FULL:
        raise InvalidArgumentError(f"intensity {vote.intensity_permil} permil is not 0 to {FULL}")
    if type(vote.incarnation) is not int or not 0 <= vote.incarnation <= MAX_INCARNATION:
        raise InvalidArgumentError(
            f"incarnation {vote.incarnation} of voter {vote.voter} is no whole number from 0 to {MAX_INCARNATION}: "
            "leave it out, or name the incarnation its node has"
        )
    if len(vote.reason) > MAX_REASON_CHARACTERS:
        raise InvalidArgumentError(
            f"a reason of {len(vote.reason)} characters is over the limit of {MAX_REASON_CHARACTERS}: shorten it"
        )


def _total(electorate: Sequence[Elector], *, weighted: bool) -> int:
    return sum(elector.weight for elector in electorate) * FULL if weighted else len(electorate)
