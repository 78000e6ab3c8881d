"""What goes wrong on the way to the store and back, drawn from the seed: losses, delays, outages."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Climate:
    """What may go wrong while it storms."""

    latency_s: float = 0.001
    lost_calls: float = 0.0
    """Share of calls whose request or answer is lost."""
    lost_hints: float = 0.0
    doubled_hints: float = 0.0
    late_hints: float = 0.0
    """Share of hints that come up to `LATE_S` after later ones."""


LATE_S = 1.5
CALM = Climate()


def climate(rng: Random) -> Climate:
    """Return a climate: often fair, sometimes foul."""
    if rng.random() < 0.3:
        return CALM
    return Climate(
        latency_s=rng.choice([0.001, 0.01, 0.05]),
        lost_calls=rng.choice([0.0, 0.0, 0.01, 0.05]),
        lost_hints=rng.choice([0.0, 0.05, 0.2, 1.0]),
        doubled_hints=rng.choice([0.0, 0.2]),
        late_hints=rng.choice([0.0, 0.2]),
    )


class Weather:
    """How it is at the moment; calm for good once it has cleared up."""

    def __init__(self, climate: Climate, rng: Random) -> None:
        self._climate = climate
        self._rng = rng
        self._away: set[str] = set()
        self.is_calm = False
        """Whether it has cleared up."""

    @property
    def latency_s(self) -> float:
        return self._climate.latency_s

    def clear_up(self) -> None:
        self.is_calm = True
        self._climate = CALM
        self._away.clear()

    def cut_off(self, name: str) -> None:
        """The process does not reach the store; an empty name stands for all."""
        self._away.add(name)

    def join(self, name: str) -> None:
        self._away.discard(name)

    def loses_request(self, name: str) -> bool:
        return self._is_away(name) or self._rng.random() < self._climate.lost_calls / 2

    def loses_answer(self, name: str) -> bool:
        return self._is_away(name) or self._rng.random() < self._climate.lost_calls / 2

    def hint_delays(self) -> list[float]:
        """Return after how long each copy of a hint arrives; none: it is lost."""
        if self._rng.random() < self._climate.lost_hints:
            return []
        copies = 2 if self._rng.random() < self._climate.doubled_hints else 1
        return [self._late() for _ in range(copies)]

    def _late(self) -> float:
        return self._rng.uniform(0, LATE_S) if self._rng.random() < self._climate.late_hints else 0.0

    def _is_away(self, name: str) -> bool:
        return bool(self._away) and ("" in self._away or name in self._away)
