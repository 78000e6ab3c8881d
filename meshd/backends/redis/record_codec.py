"""A record as Redis keeps it: one string, a head of fixed length and then the bytes of the value as they are."""

from struct import Struct

from meshd.records import Record

HEAD = Struct("<dddd")
"""Revision; revision and time of the write that began this life; end, or 0. As doubles, which is what Lua has."""


def decode(key: str, kept: bytes, *, read_ms: int) -> Record:
    """Return the record kept under `key`, as it was at `read_ms`."""
    revision, born, born_ms, expires_ms = HEAD.unpack_from(kept)
    return Record(
        key=key,
        value=kept[HEAD.size :],
        revision=int(revision),
        born=int(born),
        born_ms=int(born_ms),
        read_ms=read_ms,
        expires_ms=int(expires_ms) or None,
    )
