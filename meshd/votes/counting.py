"""Proposals in numbers, for metrics and people."""

from collections import Counter

from meshd.votes.model import Proposal, ProposalState, VoteStatistics


class Count:
    """Counts proposals one by one and keeps none of them."""

    def __init__(self) -> None:
        self._states = Counter[ProposalState]()
        self._votes = 0
        self._duration_ms = 0

    def add(self, proposal: Proposal) -> None:
        """Count one proposal."""
        self._states[proposal.state] += 1
        self._votes += len(proposal.votes)
        if proposal.state in (ProposalState.ACCEPTED, ProposalState.REJECTED):
            self._duration_ms += proposal.decided_ms - proposal.created_ms

    def statistics(self, *, damaged: int = 0) -> VoteStatistics:
        """Return what was counted; `damaged` proposals could not be."""
        decided = self._states[ProposalState.ACCEPTED] + self._states[ProposalState.REJECTED]
        return VoteStatistics(
            proposals={state: self._states[state] for state in ProposalState},
            votes=self._votes,
            decision_ms=self._duration_ms / decided if decided else 0.0,
            damaged=damaged,
        )
