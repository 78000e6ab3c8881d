"""What time leaves of things that are counted: half, each half-life. Pure.

Fading to one moment and then to a later one is fading to the later one, so nobody has to touch a weight to age it.
"""


def faded(weight: float, *, since_ms: int, now_ms: int, half_life_ms: int) -> float:
    """Return what is left of `weight` at `now_ms`; all of it at an earlier time."""
    return weight if now_ms <= since_ms else weight * 0.5 ** ((now_ms - since_ms) / half_life_ms)
