"""The waggle dance: how strongly a proposal is danced for, what rivals do to each other, what the votes look like.

The formulas are those of AgentMesh Cortex, so its figures come out; nothing here decides, `tally` alone does.
"""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum

from meshd.errors import InvalidArgumentError
from meshd.votes.model import CastVote, Choice, Proposal, ProposalType, Waggle

BASE_INTENSITY = 0.5
PRIORITY_INTENSITY: Mapping[str, float] = {"critical": 0.9, "high": 0.9, "medium": 0.6, "normal": 0.6, "low": 0.3}
URGENCY = 0.2
MINIMUM_INTENSITY = 0.3
"""From here on the default policy supports a proposal."""
STRONG = 0.7
"""Mean intensity from which support or opposition is strong."""
CLEAR = 3
"""So many times the votes of the other side make a side clear."""

ANGLES: Mapping[str, float] = {
    "approval": 90.0,
    "rejection": 270.0,
    ProposalType.ACTION: 180.0,
    ProposalType.TOPOLOGY: 0.0,
}
DEFAULT_ANGLE = 180.0
ANGLE_SPREAD = 90.0
"""How far quality 0 to 1 turns the dance."""


class Pattern(StrEnum):
    """What the votes of a proposal look like."""

    STRONG_SUPPORT = "strong_support"
    """Three times as many yes as no, said strongly."""
    SUPPORT = "support"
    DIVIDED = "divided"
    """Neither side is clear."""
    OPPOSITION = "opposition"
    STRONG_OPPOSITION = "strong_opposition"
    DEADLOCK = "deadlock"
    """As many yes as no."""
    UNKNOWN = "unknown"
    """Nobody said yes or no."""


def intensity_of(
    *, priority: str = "", urgent: bool = False, confidence: float | None = None, amount: float | None = None
) -> float:
    """Return how strongly to dance for something, 0 to 1.

    Raises:
        InvalidArgumentError: an unknown priority, a confidence outside 0 to 1, or a negative amount.
    """
    if priority and priority not in PRIORITY_INTENSITY:
        raise InvalidArgumentError(f"priority {priority!r} is not one of {', '.join(PRIORITY_INTENSITY)}")
    intensity = PRIORITY_INTENSITY.get(priority, BASE_INTENSITY)
    if urgent:
        intensity = min(1.0, intensity + URGENCY)
    if confidence is not None:
        intensity = (intensity + _share("confidence", confidence)) / 2
    if amount is not None:
        if not amount >= 0:
            raise InvalidArgumentError(f"amount {amount} is below 0")
        intensity = (intensity + math.log10(amount + 1) / 10) / 2
    return min(1.0, intensity)


def dance(intensity: float, *, kind: str = ProposalType.ACTION, quality: float = 0.5) -> Waggle:
    """Return the dance of this intensity: a second and ten repetitions at 1, its angle told by kind and quality.

    Raises:
        InvalidArgumentError: intensity or quality is outside 0 to 1.
    """
    _share("intensity", intensity)
    turned = ANGLES.get(kind, DEFAULT_ANGLE) + (_share("quality", quality) - 0.5) * ANGLE_SPREAD
    return Waggle(
        intensity=intensity,
        duration_ms=round(1_000 * intensity),
        repetitions=max(1, int(10 * intensity)),
        angle=turned % 360,
    )


def inhibition(stronger: Waggle, weaker: Waggle) -> float:
    """Return what one dance takes from a rival's intensity, 0 to 1; 0 from a dance that is not the stronger one."""
    repetitions = (stronger.repetitions - weaker.repetitions) / 10
    return min(1.0, max(0.0, (stronger.intensity - weaker.intensity + repetitions) / 2))


def ranking(rivals: Iterable[Proposal]) -> list[tuple[Proposal, float]]:
    """Return rivals with the intensity each is left with, the strongest first.

    Each loses what the rival that inhibits it most takes from it; equals are ordered by id.
    """
    all_rivals = tuple(rivals)
    ranked = [(rival, _left(rival.waggle, (other.waggle for other in all_rivals))) for rival in all_rivals]
    return sorted(ranked, key=lambda pair: (-pair[1], -pair[0].waggle.intensity, pair[0].id))


def supports(waggle: Waggle, *, minimum: float = MINIMUM_INTENSITY) -> bool:
    """Return whether the default policy says yes to a proposal danced for like this."""
    return waggle.intensity >= minimum


def weighted_support(votes: Iterable[CastVote]) -> float:
    """Return the yes share of all intensity, 0 to 1; 0 without any. Abstentions count to neither."""
    yes, no = _sums(votes)
    return yes / (yes + no) if yes + no else 0.0


def strong_support(votes: Iterable[CastVote], *, electors: int, minimum: float = STRONG) -> float:
    """Return the share of the electors who said yes with more than `minimum` intensity, 0 to 1."""
    strong = [vote for vote in votes if vote.choice is Choice.YES and vote.intensity_permil > round(minimum * 1_000)]
    return len(strong) / electors if electors else 0.0


def pattern(votes: Iterable[CastVote]) -> Pattern:
    """Return what the votes look like."""
    cast = tuple(votes)
    yes = [vote.intensity_permil for vote in cast if vote.choice is Choice.YES]
    no = [vote.intensity_permil for vote in cast if vote.choice is Choice.NO]
    if not yes and not no:
        return Pattern.UNKNOWN
    if len(yes) == len(no):
        return Pattern.DEADLOCK
    if len(yes) >= CLEAR * len(no):
        return Pattern.STRONG_SUPPORT if _is_strong(yes) else Pattern.SUPPORT
    if len(no) >= CLEAR * len(yes):
        return Pattern.STRONG_OPPOSITION if _is_strong(no) else Pattern.OPPOSITION
    return Pattern.DIVIDED


def _left(own: Waggle, others: Iterable[Waggle]) -> float:
    return max(0.0, own.intensity - max((inhibition(other, own) for other in others), default=0.0))


def _is_strong(intensities: list[int]) -> bool:
    return sum(intensities) >= round(STRONG * 1_000) * len(intensities)


def _sums(votes: Iterable[CastVote]) -> tuple[int, int]:
    yes = no = 0
    for vote in votes:
        yes += vote.intensity_permil if vote.choice is Choice.YES else 0
        no += vote.intensity_permil if vote.choice is Choice.NO else 0
    return yes, no


def _share(what: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InvalidArgumentError(f"{what} {value} is not 0 to 1")
    return value
