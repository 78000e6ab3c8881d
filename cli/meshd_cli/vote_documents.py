"""Proposals as plain JSON types."""

from collections.abc import Sequence
from typing import Any

from meshd.votes.model import Proposal
from meshd.votes.tally import tally
from meshd.votes.waggle import pattern, ranking, strong_support, weighted_support
from meshd_cli.documents import moment


def proposal_summary(proposal: Proposal) -> dict[str, Any]:
    """Return what fits on one line about a proposal."""
    counted = tally(proposal)
    return {
        "id": proposal.id,
        "type": proposal.type,
        "state": proposal.state.value,
        "proposer": proposal.proposer,
        "content": proposal.content,
        "unit": "thousandths of weight" if counted.weighted else "heads",
        "yes": counted.yes,
        "no": counted.no,
        "abstain": counted.abstain,
        "undecided": counted.undecided,
        "total": counted.total,
        "need": counted.need,
        "intensity": proposal.waggle.intensity,
        "expires_at": moment(proposal.expires_ms),
        "decided_at": moment(proposal.decided_ms or None),
    }


def proposal_document(proposal: Proposal) -> dict[str, Any]:
    """Return everything about a proposal."""
    votes = list(proposal.votes.values())
    return {
        **proposal_summary(proposal),
        "epoch": proposal.epoch,
        "supersedes": proposal.supersedes,
        "created_at": moment(proposal.created_ms),
        "announced": proposal.announced,
        "durability": proposal.durability,
        "waggle": {
            "intensity": proposal.waggle.intensity,
            "duration_ms": proposal.waggle.duration_ms,
            "repetitions": proposal.waggle.repetitions,
            "angle": proposal.waggle.angle,
        },
        "pattern": pattern(votes).value,
        "weighted_support": round(weighted_support(votes), 4),
        "strong_support": round(strong_support(votes, electors=len(proposal.electorate)), 4),
        "electorate": [
            {"id": each.id, "incarnation": each.incarnation, "weight": each.weight, "may_veto": each.may_veto}
            for each in proposal.electorate
        ],
        "votes": [
            {
                "voter": vote.voter,
                "choice": vote.choice.value,
                "intensity": vote.intensity_permil / 1_000,
                "reason": vote.reason,
                "incarnation": vote.incarnation,
                "at": moment(vote.at_ms),
            }
            for vote in votes
        ],
    }


def ranked_documents(rivals: Sequence[Proposal]) -> list[dict[str, Any]]:
    """Return rivals, the strongest dance first, each with what the others leave it."""
    return [{**proposal_summary(proposal), "strength": round(left, 4)} for proposal, left in ranking(rivals)]
