"""Whom a node probes when nobody says otherwise.

Invariant: while all choose from the same members, the choices together connect them, and each is chosen by about as
many as it chooses.
"""

import hashlib
from collections.abc import Collection, Sequence
from random import Random


def place_of(node: str) -> bytes:
    """Return a node's place on the ring: as if by chance, and the same for all."""
    return hashlib.blake2b(node.encode(), digest_size=8).digest()


def fingers(me: str, others: Collection[str], *, count: int) -> list[str]:
    """Return up to `count` of `others`: on the ring 1, 2, 4, 8 … places before and behind `me`."""
    if len(others) <= count:
        return sorted(others)
    ring = sorted({*others, me}, key=lambda node: (place_of(node), node))
    start, size = ring.index(me), len(ring)
    chosen: dict[str, None] = {}
    step = 1
    while len(chosen) < count and step <= size:
        for place in (start + step, start - step):
            node = ring[place % size]
            if node != me and len(chosen) < count:
                chosen[node] = None
        step *= 2
    for offset in range(1, size):
        if len(chosen) >= count:
            break
        chosen[ring[(start + offset) % size]] = None
    return list(chosen)


def explored(others: Collection[str], *, known: Collection[str], count: int, rng: Random) -> Sequence[str]:
    """Return up to `count` of those not known, by chance."""
    unknown = sorted(set(others) - set(known))
    return unknown if len(unknown) <= count else rng.sample(unknown, count)
