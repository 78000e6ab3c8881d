"""Hybrid logical clocks: times that never run backwards, follow causality, and stay near the wall clock. Pure.

Source: Kulkarni, Demirbas, Madappa, Avva, Leone: "Logical physical clocks", OPODIS 2014.
"""

from typing import NamedTuple

MAX_TICK = 0xFFFF


class Time(NamedTuple):
    """Milliseconds, and a tick that tells apart what happened within one."""

    ms: int
    tick: int = 0


def next_time(last: Time, now_ms: int) -> Time:
    """Return the time of the next write on a clock that stood at `last`: later than it, and not before `now_ms`."""
    if now_ms > last.ms:
        return Time(now_ms)
    if last.tick < MAX_TICK:
        return Time(last.ms, last.tick + 1)
    return Time(last.ms + 1)


def after(last: Time, seen: Time) -> Time:
    """Return where a clock stands once it has received a version of time `seen`."""
    return max(last, seen)


def is_future(ms: int, *, now_ms: int, max_drift_ms: int) -> bool:
    """Return whether a time is too far ahead to be taken: one clock that is wrong must not win for ever."""
    return ms > now_ms + max_drift_ms
