"""How far an agent is trusted: the Beta mean of how its work ended. Pure.

    mean     = (completed + 2) / (completed + failed + 4)
    standing = the mean, and at least .25

Outcomes lose half their weight each week, so failures are forgiven and laurels wither: whoever does nothing goes back
to the .5 of a newcomer. The floor keeps work coming to those who failed, and only work can redeem them.
"""

from meshd.groups.fading import faded
from meshd.groups.model import REPUTATION_HALF_LIFE_MS, Reputation

PRIOR_COMPLETED, PRIOR_FAILED = 2.0, 2.0
FLOOR = 0.25


def reputation_at(reputation: Reputation, now_ms: int) -> Reputation:
    """Return what time has left of it; a time before the last outcome changes nothing."""
    if now_ms <= reputation.at_ms:
        return reputation
    left = faded(1.0, since_ms=reputation.at_ms, now_ms=now_ms, half_life_ms=REPUTATION_HALF_LIFE_MS)
    return Reputation(completed=reputation.completed * left, failed=reputation.failed * left, at_ms=now_ms)


def mean_at(reputation: Reputation, now_ms: int) -> float:
    """Return the mean, over 0 and under 1; .5 for a newcomer."""
    now = reputation_at(reputation, now_ms)
    return (now.completed + PRIOR_COMPLETED) / (now.completed + now.failed + PRIOR_COMPLETED + PRIOR_FAILED)


def standing_at(reputation: Reputation, now_ms: int, floor: float = FLOOR) -> float:
    """Return what counts when agents are chosen: the mean, never under the floor."""
    return max(floor, mean_at(reputation, now_ms))


def recorded(reputation: Reputation, *, is_success: bool, at_ms: int) -> Reputation:
    """Return it after one more outcome."""
    before = reputation_at(reputation, at_ms)
    return Reputation(
        completed=before.completed + is_success, failed=before.failed + (not is_success), at_ms=before.at_ms
    )
