"""Identifiers: sortable by time, unique without coordination, made of letters and digits only."""

import hashlib
import os
import re

from meshd.clock import Clock, system_clock
from meshd.errors import InvalidArgumentError

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


TAIL = 4
"""Last characters of an id that say where it is kept: what has the same tail is kept together."""


def new_id(clock: Clock = system_clock, *, key: str | None = None) -> str:
    """Return a new ULID: 48 bits of milliseconds, then 80 random bits, as 26 Crockford base-32 characters.

    Ids made later sort later (to the millisecond). With `key`, the tail is `tail_of(key)` and 60 bits are random.
    Source: https://github.com/ulid/spec.
    """
    value = (clock() << 80) | int.from_bytes(os.urandom(10), "big")
    made = "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])
    return made if key is None else made[:-TAIL] + tail_of(key)


def tail_of(key: str) -> str:
    """Return the tail of every id made for a key, so that they are kept where the key is."""
    value = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return "".join([_ALPHABET[(value >> shift) & 31] for shift in range(5 * (TAIL - 1), -1, -5)])


def part_id(key: str, part: str) -> str:
    """Return the id of a part of what a key names: the same each time, kept where the key is, before all other ids."""
    value = int.from_bytes(hashlib.sha256(f"{key}\n{part}".encode()).digest()[:8], "big")
    return "0" * 10 + "".join([_ALPHABET[(value >> shift) & 31] for shift in range(55, -1, -5)]) + tail_of(key)


def check_name(kind: str, name: str) -> str:
    """Return `name` unchanged if it may name a mesh, node, agent, task type or capability.

    Raises:
        InvalidArgumentError: it is empty, over 64 characters, or has a character outside `A-Za-z0-9_.:-`.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"{kind} {name!r} is not a valid name: use 1 to 64 of A-Z a-z 0-9 _ . : - and start with a letter or digit"
        )
    return name
