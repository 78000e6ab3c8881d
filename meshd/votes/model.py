"""Deciding together: a proposal with a frozen electorate, votes, and one decision for good."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ProposalType(StrEnum):
    """What a proposal is about; any other valid name may be used too."""

    DECISION = "decision"
    ACTION = "action"
    TOPOLOGY = "topology"
    TASK = "task"
    """Whether a task may run."""


class Choice(StrEnum):
    YES = "yes"
    NO = "no"
    ABSTAIN = "abstain"


class ProposalState(StrEnum):
    PENDING = "pending"
    """Votes are taken."""
    ACCEPTED = "accepted"
    """Enough yes for good."""
    REJECTED = "rejected"
    """Enough yes had become impossible, or somebody with a veto said no."""
    EXPIRED = "expired"
    """Its time ended before either."""

    @property
    def is_decided(self) -> bool:
        return self is not ProposalState.PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Elector:
    """Somebody who may vote: an agent, as it was when the electorate was frozen."""

    id: str
    incarnation: int = 0
    """Of its node; a later incarnation may vote if the earlier did not."""
    weight: int = 1
    """Counts in weighted quorums only."""
    may_veto: bool = False


@dataclass(frozen=True, slots=True)
class Quorum:
    """How much yes accepts. Exactly one of `permil` and `count` is used: `count` when it is over 0."""

    count: int = 0
    """So many yes, whatever the size of the electorate."""
    permil: int = field(default=600, kw_only=True)
    """Of the electorate (of its weight, in a weighted quorum), 1 to 1000, rounded up; 0 leaves it to who asks."""
    weighted: bool = field(default=False, kw_only=True)
    """Count intensity and weight instead of heads; shown wherever the outcome is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """One elector's vote; the first is final."""

    voter: str
    choice: Choice
    incarnation: int = 0
    intensity_permil: int = 1000
    """How strongly, 0 to 1000."""
    reason: str = ""
    at_ms: int = 0
    """Store time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waggle:
    """How a proposal is danced for (`waggle.py` computes it)."""

    intensity: float = 0.5
    duration_ms: int = 500
    repetitions: int = 5
    angle: float = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The whole truth about one proposal, as one record keeps it."""

    id: str
    proposer: str
    type: str = ProposalType.DECISION
    content: Any = None
    """Any JSON value: what is voted on."""
    electorate: tuple[Elector, ...] = ()
    """Sorted by id; never changes. Who leaves stays counted: a quorum can become impossible, never easier."""
    epoch: int = 1
    supersedes: str = ""
    """Id of the proposal this one replaces, with the epoch after its."""
    quorum: Quorum = Quorum()
    need: int = 0
    """Yes needed, in heads or in thousandths of weight; frozen with the electorate."""
    state: ProposalState = ProposalState.PENDING
    votes: Mapping[str, CastVote] = field(default_factory=dict[str, CastVote])
    waggle: Waggle = Waggle()
    created_ms: int = 0
    expires_ms: int = 0
    decided_ms: int = 0
    announced: bool = False
    """Whether every elector has been sent the decision."""
    durability: str = ""
    """Level (D0 to D3) the decision has reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteStatistics:
    """The proposals the store still keeps, in numbers."""

    proposals: Mapping[ProposalState, int]
    """How many are in each state."""
    votes: int = 0
    decision_ms: float = 0.0
    """Mean time from proposal to acceptance or rejection; 0 before the first."""
    damaged: int = 0
    """Records of proposals that cannot be read; a warning in the log names each."""
