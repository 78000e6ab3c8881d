"""Ids that sort in the order they were made, also within one millisecond and while a clock stands or goes back."""

import os

from meshd.clock import Clock, system_clock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_ROOM = 1 << 64


class RisingIds:
    """ULIDs, each greater than every one before it from this object. Used from one event loop only."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> str:
        """Return the next id."""
        value = (self._clock() << _RANDOM_BITS) | int.from_bytes(os.urandom(10), "big")
        if value >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
            value = self._last + 1 + int.from_bytes(os.urandom(8), "big") % _ROOM
        self._last = value
        return "".join([_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)])
