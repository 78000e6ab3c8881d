"""How long to wait before a change that others were quicker with is tried again. Pure."""

from random import Random


def jittered(rng: Random, attempt: int, *, first_s: float, longest_s: float) -> float:
    """Return a pause: full jitter under a bound that doubles with each attempt, the first is 0, up to `longest_s`.

    Source: Brooker, Exponential Backoff And Jitter (AWS Architecture Blog, 2015).
    """
    return rng.uniform(0, min(longest_s, first_s * 2**attempt))
