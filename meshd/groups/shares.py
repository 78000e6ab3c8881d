"""How work is shared among those who can do it: by highest averages (D'Hondt), so in proportion to merit. Pure.

    price = (1 + given) / score³

`given` are the groups an agent was invited to of late. Whoever is cheapest is asked: among agents that are free and
equally good that is each in turn, and while there is much to do one that scores 1.2 times as well as another gets
1.2³ = 1.7 times the work. Where there is little to do, the best is always free; so one announcement in twenty, told by
its id, looks at no score (price = 1 + given), and nobody is passed over for good.
"""

from dataclasses import dataclass, replace
from zlib import crc32

from meshd.groups.fading import faded
from meshd.groups.model import GIVEN_HALF_LIFE_MS, Candidate, Offer

LEAST_SCORE = 0.01
"""Lower scores are taken for this one, so that every price is finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRules:
    """How much merit counts when work is shared."""

    emphasis: float = 3.0
    """Power of the score: how much more work the better agent gets."""
    even_one_in: int = 20
    """Of so many announcements one looks at no score; 0: none does, 1: all do."""


DEFAULT_SHARES = ShareRules()


def given_at(candidate: Candidate, now_ms: int) -> float:
    """Return what its invitations of late still weigh."""
    return faded(candidate.given, since_ms=candidate.given_ms, now_ms=now_ms, half_life_ms=GIVEN_HALF_LIFE_MS)


def invited(candidate: Candidate, *, at_ms: int) -> Candidate:
    """Return the agent after one more invitation: a slot held, and its share counted."""
    at_ms = max(at_ms, candidate.given_ms)
    return replace(candidate, taken=candidate.taken + 1, given=given_at(candidate, at_ms) + 1, given_ms=at_ms)


def is_even(salt: str, shares: ShareRules = DEFAULT_SHARES) -> bool:
    """Return whether the announcement of this id looks at no score; without an id it does look."""
    return bool(salt) and shares.even_one_in > 0 and crc32(salt.encode()) % shares.even_one_in == 0


def price(offer: Offer, *, even: bool = False, shares: ShareRules = DEFAULT_SHARES) -> float:
    """Return what taking the offer is counted as, 1 or more; `even`: whatever its score."""
    given = 1.0 + offer.given if offer.given > 0 else 1.0
    if even or offer.score >= 1:
        return given
    merit: float = max(LEAST_SCORE, offer.score) ** shares.emphasis
    return given / merit
