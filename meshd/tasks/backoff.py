"""How long a failed task waits before its next attempt. Pure: the random source is passed in."""

from random import Random

from meshd.tasks.model import TaskPolicy


def retry_delay_ms(policy: TaskPolicy, *, failures: int, rng: Random) -> int:
    """Return the wait after the `failures`-th failure: base x factor^failures, capped, with full jitter if asked for.

    With the defaults and no jitter: 2, 4, 8 s. Full jitter draws evenly from zero to that length, which spreads a
    burst of failures best (Brooker, "Exponential Backoff And Jitter", 2015).
    """
    length = min(policy.backoff_cap_ms, policy.backoff_ms * policy.backoff_factor**failures)
    return int(rng.uniform(0, length)) if policy.jitter else int(length)
