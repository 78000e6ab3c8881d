"""How much of the time a node was there, from the events of its life."""

from collections.abc import Iterable
from dataclasses import dataclass

_GONE = frozenset({"suspect", "partitioned", "dead", "left"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """What the log says of one node."""

    up_ms: int = 0
    observed_ms: int = 0
    """From the first event of the node in the window, or the window's start where it was known before, until now."""
    joins: int = 0
    failures: int = 0
    """How often it was judged dead."""
    departures: int = 0
    """How often it left by itself."""

    @property
    def share(self) -> float | None:
        """Part of the observed time in which it was there, 0 to 1; nothing when nothing was observed."""
        return self.up_ms / self.observed_ms if self.observed_ms else None


def uptime_of(events: Iterable[tuple[int, str]], *, now_ms: int, window_ms: int) -> Uptime:
    """Return the uptime in the last `window_ms` of a node whose events these are: time and verb, oldest first.

    Whoever is suspect, partitioned, dead or left is not there; a death counts from when it was judged.
    """
    start_ms = now_ms - window_ms
    up_ms = observed_ms = joins = failures = departures = 0
    before_ms, was_up = 0, None
    for told_ms, verb in [*events, (now_ms, "")]:
        at_ms = min(told_ms, now_ms)
        if was_up is not None and at_ms > start_ms:
            elapsed = at_ms - max(before_ms, start_ms)
            observed_ms += elapsed
            up_ms += elapsed if was_up else 0
        before_ms, was_up = at_ms, verb not in _GONE
        if at_ms > start_ms:
            joins += verb == "joined"
            failures += verb == "dead"
            departures += verb == "left"
    return Uptime(up_ms=up_ms, observed_ms=observed_ms, joins=joins, failures=failures, departures=departures)
