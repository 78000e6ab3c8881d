"""How late a beat may be: phi-accrual in closed form.

A node's beats come about every `Pace.mean_ms`, give or take its standard deviation. `phi` is how unlikely a silence is
under a normal distribution, as a power of ten: 8 means that one gap in 10^8 is as long. Over 8 a node is suspect, over
12 its bound is reached.

Invariant: the bound of a node that beats regularly is exactly `NodeTimings.timeout_ms`; irregular beats only stretch
it, at most `NodeTimings.MAX_STRETCH` times. So that scripts need no error function, the two thresholds are numbers of
standard deviations.
"""

from dataclasses import dataclass
from math import erfc, log, log10, pi, sqrt

from meshd.nodes.model import NodeTimings

WEIGHT = 0.01
"""Weight of the newest interval: the pace remembers about a hundred."""
Z_DOUBT = 5.612001244174788
"""Standard deviations over the mean at which phi is 8."""
Z_BOUND = 7.034483825301132
"""Standard deviations over the mean at which phi is 12."""

_FLOOR_SHARE = 0.2
_UNDERFLOW = 30.0
_MAX_PHI = 999.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """At what intervals a node beats: mean and variance, exponentially weighted."""

    mean_ms: float
    variance: float = 0.0

    @property
    def deviation_ms(self) -> float:
        return sqrt(self.variance)

    def counting(self, interval_ms: float) -> "Pace":
        """Return the pace after one more interval."""
        distance = interval_ms - self.mean_ms
        return Pace(
            mean_ms=self.mean_ms + WEIGHT * distance,
            variance=(1 - WEIGHT) * (self.variance + WEIGHT * distance * distance),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a mesh allows every node, whatever its pace; all in milliseconds of silence."""

    heartbeat: float
    """No mean counts as shorter: beats out of turn do not make the mesh impatient."""
    floor: float
    """No standard deviation counts as smaller."""
    pause: float
    """What is added to every threshold: a pause of the process or the network that proves nothing."""
    most: float
    """No bound is longer."""

    def doubted_after(self, pace: Pace) -> int:
        """Return the silence in which phi reaches 8."""
        whole = self._until(pace, Z_BOUND)
        return round(self._until(pace, Z_DOUBT) * min(1.0, self.most / whole))

    def bound_after(self, pace: Pace) -> int:
        """Return the silence in which phi reaches 12."""
        return round(min(self.most, self._until(pace, Z_BOUND)))

    def tells(self, interval_ms: float, pace: Pace) -> bool:
        """Whether an interval counts: a beat out of turn does not, nor one that ends a silence over the bound."""
        return self.heartbeat / 2 <= interval_ms <= self.bound_after(pace)

    def _until(self, pace: Pace, deviations: float) -> float:
        deviation = max(self.floor, pace.deviation_ms)
        return max(self.heartbeat, pace.mean_ms) + deviations * deviation + self.pause


def patience_of(timings: NodeTimings) -> Patience:
    """Return the patience under which a regular node's bound is the timeout.

    The smallest standard deviation is a fifth of the heartbeat, 200 ms at one second, or less where the timeout would
    leave no pause.
    """
    spare = max(0, timings.timeout_ms - timings.heartbeat_ms)
    floor = min(_FLOOR_SHARE * timings.heartbeat_ms, spare / (2 * Z_BOUND))
    return Patience(
        heartbeat=timings.heartbeat_ms,
        floor=floor,
        pause=spare - Z_BOUND * floor,
        most=timings.timeout_ms * NodeTimings.MAX_STRETCH,
    )


def phi(*, now_ms: int, doubt_ms: int, bound_ms: int) -> float:
    """Return how unlikely the silence is by now of a node whose phi is 8 at `doubt_ms` and 12 at `bound_ms`."""
    deviation = max(1, bound_ms - doubt_ms) / (Z_BOUND - Z_DOUBT)
    return _phi_at(Z_BOUND + (now_ms - bound_ms) / deviation)


def _phi_at(z: float) -> float:
    if z < _UNDERFLOW:
        return max(0.0, -log10(erfc(z / sqrt(2)) / 2))
    # The tail itself underflows: its leading term, as a logarithm.
    return min(_MAX_PHI, (z * z / 2 + log(z * sqrt(2 * pi))) / log(10))
