"""When a supervised process is started again: pure rules over its exit code and how long it lived.

A node that ended on purpose stays down; a node whose settings are wrong stays down, since a restart cannot mend them;
everything else comes back after a wait that doubles with each short life.
"""

from dataclasses import dataclass
from datetime import timedelta

from meshd.exit_codes import ExitCode

FINAL_CODES = frozenset({ExitCode.OK, ExitCode.USAGE})
"""Exit codes after which a process is not started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How long to wait before the next start."""

    first: timedelta = timedelta(milliseconds=500)
    factor: int = 2
    longest: timedelta = timedelta(seconds=30)
    healthy_after: timedelta = timedelta(seconds=60)
    """A life this long forgets the short ones before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start again after `delay`."""

    delay: timedelta
    short_lives: int
    """Lives in a row, this one included, that ended before `healthy_after`; hand it to the next `after_exit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Leave it down."""

    failed: bool


def after_exit(
    exit_code: int, *, lived: timedelta, short_lives: int, policy: RestartPolicy | None = None
) -> Restart | Rest:
    """Return what follows an exit nobody asked for; negative codes are signals, as in `subprocess`."""
    policy = policy or RestartPolicy()
    if exit_code in FINAL_CODES:
        return Rest(failed=exit_code != ExitCode.OK)
    if lived >= policy.healthy_after:
        return Restart(delay=policy.first, short_lives=1)
    return Restart(delay=backoff(short_lives, policy=policy), short_lives=short_lives + 1)


def backoff(short_lives: int, *, policy: RestartPolicy) -> timedelta:
    """Return the wait after `short_lives` earlier short lives: `first * factor ** short_lives`, at most `longest`."""
    if short_lives > 32:
        return policy.longest
    times: int = policy.factor**short_lives
    return min(policy.first * times, policy.longest)
