"""Digests: one sum per bucket over the live versions of its keys. Pure.

Sums are kept by adding and subtracting fingerprints, so a store changes its digest with each write at the cost of that
write; tombstones and expired versions count nothing, so when a store collects them does not show.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence

from meshd.memory.model import LOCAL, Version

BUCKETS = 4096
_SUMS = struct.Struct(f">{BUCKETS}Q")
_MODULUS = 1 << 64


def bucket_of(key: str) -> int:
    """Return the bucket of a key: the first twelve bits of its SHA-1, which every store can compute."""
    return int(hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()[:3], 16)


def fingerprint(version: Version) -> int:
    """Return what a live version adds to its bucket: the first six bytes of its checksum."""
    return int.from_bytes(version.checksum[:6], "big")


def digest_of(versions: Iterable[Version], *, now_ms: int) -> bytes:
    """Return the buckets of a store that holds these versions, computed from scratch."""
    sums = [0] * BUCKETS
    for version in versions:
        if version.header.actor != LOCAL and version.is_live(now_ms):
            bucket = bucket_of(version.key)
            sums[bucket] = (sums[bucket] + fingerprint(version)) % _MODULUS
    return pack_sums(sums)


def pack_sums(sums: Sequence[int]) -> bytes:
    """Return the sums of all buckets as a digest has them."""
    return _SUMS.pack(*sums)


def differing(buckets: bytes, other: bytes) -> list[int]:
    """Return the buckets in which two digests differ."""
    if buckets == other:
        return []
    pairs = zip(_SUMS.unpack(buckets), _SUMS.unpack(other), strict=True)
    return [at for at, (mine, theirs) in enumerate(pairs) if mine != theirs]
