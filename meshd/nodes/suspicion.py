"""How long a suspect may refute, and how far a prober trusts its own timing (Lifeguard, Dadgar et al. 2018).

Invariant: confirmations only shorten a suspicion, and never under its minimum.
"""

import math
from dataclasses import dataclass, field

MULTIPLIER = 4
"""Shortest suspicion, in probe intervals, times the magnitude of the mesh."""
LONGEST = 6
"""Longest suspicion over the shortest."""
WANTED = MULTIPLIER - 2
"""Confirmations that make a suspicion as short as it gets."""
WORST = 8
"""Worst health: timeouts are 9 times as long."""


@dataclass(slots=True, kw_only=True)
class Health:
    """A prober's doubt of itself: lost probes may be its own fault when nobody else answers it either."""

    score: int = 0

    def add(self, delta: int) -> None:
        self.score = min(WORST, max(0, self.score + delta))

    @property
    def stretch(self) -> int:
        """By how much its own timeouts are longer."""
        return self.score + 1


@dataclass(slots=True, kw_only=True)
class Suspicion:
    """One suspicion: who shares it, and when it becomes a failure."""

    began: float
    shortest: float
    longest: float
    wanted: int
    confirmed_by: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, *, began: float, interval: float, members: int) -> "Suspicion":
        """Return a suspicion in a mesh of so many members."""
        shortest = MULTIPLIER * max(1.0, math.log10(max(1, members))) * interval
        wanted = WANTED if members - 2 >= WANTED else 0
        return cls(began=began, shortest=shortest, longest=LONGEST * shortest, wanted=wanted)

    def confirm(self, by: str) -> bool:
        """Count one more that suspects; return whether that was news."""
        if by in self.confirmed_by or len(self.confirmed_by) > self.wanted:
            return False
        self.confirmed_by.add(by)
        return True

    @property
    def ends(self) -> float:
        """From max to min by log(confirmations + 1) / log(wanted + 1); whoever suspected first confirms nothing."""
        if self.wanted == 0:
            return self.began + self.shortest
        confirmations = max(0, min(len(self.confirmed_by) - 1, self.wanted))
        share = math.log(confirmations + 1) / math.log(self.wanted + 1)
        return self.began + max(self.shortest, self.longest - (self.longest - self.shortest) * share)
