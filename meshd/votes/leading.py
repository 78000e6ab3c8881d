"""What a lease means: how long a leader may believe in itself, and what a follower does with what it sees.

Invariant: a leader stops believing before the store stops, since it counts from before it asked and gives a fifth away.
"""

from dataclasses import dataclass
from datetime import timedelta

from meshd.errors import InvalidArgumentError

PREFIX = "leader/"
"""Of the records: one for each scope that has a leader."""
TRUSTED = 0.8
"""Part of a lease its holder counts on."""
RENEWED = 0.3
"""Part of a lease after which it is renewed."""
SPREAD = 0.05
"""Part of a lease over which followers scatter, so that they do not all look at once."""
SHORTEST = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a leader is one without a renewal."""

    length: timedelta = timedelta(seconds=10)
    delay: timedelta = timedelta(0)
    """Pause of a new leader whose predecessor did not resign: time for effects on their way that nothing fences."""

    def __post_init__(self) -> None:
        """Raise `InvalidArgumentError` for a lease that cannot be kept."""
        if self.length < SHORTEST or self.delay < timedelta(0):
            raise InvalidArgumentError(
                f"lease of {self.length}, delay of {self.delay}: use a lease of {SHORTEST} or more, and a delay of 0 "
                "or more"
            )

    @property
    def length_ms(self) -> int:
        return round(self.length.total_seconds() * 1000)

    @property
    def renewal_s(self) -> float:
        """Seconds from one renewal to the next."""
        return self.length.total_seconds() * RENEWED

    def trusted_until(self, asked_s: float) -> float:
        """Return the monotonic time up to which a lease asked for at `asked_s` may be counted on."""
        return asked_s + self.length.total_seconds() * TRUSTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One holder's leadership of a scope, as everybody sees it."""

    scope: str
    holder: str
    token: int
    """Rises with every term of the scope; the fencing token of everything its leader does."""
    nonce: str
    """Tells the holder that this term is its own, also if it never heard so."""
    since_ms: int
    """Store time of the election."""
    left_ms: int
    """How long the lease lasted on when it was read."""
    lease_ms: int


def topic_of(scope: str) -> str:
    """Return the topic of hints that the scope has become free."""
    return f"leader:{scope}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Nobody leads: try to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The term seen is the follower's own: its election was not answered."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Somebody else leads: look again after this time, or when told that the scope is free."""

    seconds: float


def decide(term: Term | None, *, nonce: str, chance: float) -> Stand | Accept | Follow:
    """Return what somebody does who wants to lead and sees this; `chance` is from 0 to 1 and scatters followers.

    A follower looks again just after the end of the lease it saw, so a dead leader is followed within one lease.
    """
    if term is None:
        return Stand()
    if term.nonce == nonce:
        return Accept(token=term.token)
    return Follow(seconds=(max(term.left_ms, 0) + term.lease_ms * SPREAD * chance) / 1000)


def is_handed_over(*, seen: int, resigned: int) -> bool:
    """Return whether the term `seen` last ended with its holder's own word: none of its effects is under way."""
    return seen > 0 and seen == resigned
