"""The record port: small versioned documents with compare-and-set.

What votes, groups, leases and snapshots stand on. Revisions rise over the whole store, so a reader that remembers the
largest one it saw can tell whether anything it read has changed since.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meshd.errors import InvalidArgumentError

MAX_RECORD_BYTES = 262_144
MAX_KEY_CHARACTERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    key: str
    value: bytes
    revision: int
    """Rises with every write to any record of the mesh, also over a store that lost its last writes."""
    born: int
    """Revision of the write that created it; updates keep it. Names this life of the key: a fencing token."""
    born_ms: int
    """Store time of that write."""
    read_ms: int
    """Store time of this read."""
    expires_ms: int | None = None
    """Store time at which it is gone unless written again; `None`: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A condition on another record, checked in the same step as the write it guards: `key` lives its life `born`."""

    key: str
    born: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """There are never more than `most` live keys that start with `prefix`, as long as all are created with it."""

    prefix: str
    most: int


class RecordStore(Protocol):
    """Documents by key, up to `MAX_RECORD_BYTES` each; keys are 1 to 256 characters without control characters.

    Every write takes a `guard`: the write happens only while the guard's record lives the life it names, judged in the
    same atomic step, else it raises `FencedError` and changes nothing.
    """

    async def get(self, key: str) -> Record | None:
        """Return the record, or `None` when it does not exist or its time ran out."""
        ...

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None, guard: Guard | None = None) -> int:
        """Write whatever was there before; return the new revision. Without `ttl_ms` the record does not expire.

        A live record keeps its `born`; it begins a life where there was none.

        Raises:
            InvalidArgumentError: the key or the size is outside the limits.
        """
        ...

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        guard: Guard | None = None,
        room: Room | None = None,
    ) -> int:
        """Write only if there is no such record; return the new revision, which is its `born`.

        With `room`, only while fewer than `room.most` live keys start with `room.prefix`, judged in the same atomic
        step: of many at once exactly as many are created as there is room for. Expired records take none, unlike in
        `count`. The guard is judged first, then whether the key is taken, then the room.

        Raises:
            AlreadyExistsError: the key is taken; also when there is no room.
            NoRoomError: there is no room.
            InvalidArgumentError: the key or the size is outside the limits.
        """
        ...

    async def update(
        self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None, guard: Guard | None = None
    ) -> int:
        """Write only if the record still has `revision`; return the new revision. The old TTL does not carry over.

        Raises:
            NotFoundError: there is no such record.
            RevisionMismatchError: it has changed; the error names its current revision.
            InvalidArgumentError: the size is outside the limits.
        """
        ...

    async def delete(self, key: str, *, revision: int | None = None, guard: Guard | None = None) -> bool:
        """Remove the record; return whether there was one.

        Raises:
            RevisionMismatchError: `revision` is given and is not the record's.
        """
        ...

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        """Return up to `limit` live records whose key starts with `prefix` and sorts after `after`, in key order."""
        ...

    async def count(self, prefix: str) -> int:
        """Return how many keys start with `prefix`, without reading the records; expired ones may still count."""
        ...


def check_record(key: str, value: bytes) -> None:
    """Return if a store may keep this record.

    Raises:
        InvalidArgumentError: the key or the size is outside the limits.
    """
    is_odd = not key.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in key)
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or is_odd:
        raise InvalidArgumentError(
            f"record key {key!r}: use 1 to {MAX_KEY_CHARACTERS} characters, none a control character"
        )
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidArgumentError(f"record {key!r} has {len(value)} bytes, over the limit of {MAX_RECORD_BYTES}")
