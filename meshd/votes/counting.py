"""Proposals in numbers, for metrics and people."""

from collections.abc import Iterable

from meshd.votes.model import Proposal, ProposalState, VoteStatistics


def statistics(proposals: Iterable[Proposal]) -> VoteStatistics:
    """Return these proposals in numbers."""
    states = dict.fromkeys(ProposalState, 0)
    votes = 0
    durations: list[int] = []
    for proposal in proposals:
        states[proposal.state] += 1
        votes += len(proposal.votes)
        if proposal.state in (ProposalState.ACCEPTED, ProposalState.REJECTED):
            durations.append(proposal.decided_ms - proposal.created_ms)
    mean = sum(durations) / len(durations) if durations else 0.0
    return VoteStatistics(proposals=states, votes=votes, decision_ms=mean)
