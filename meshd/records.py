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
    """Rises with every write to any record of the mesh."""


class RecordStore(Protocol):
    """Documents by key, up to `MAX_RECORD_BYTES` each; keys are 1 to 256 characters without control characters."""

    async def get(self, key: str) -> Record | None:
        """Return the record, or `None` when it does not exist or its time ran out."""
        ...

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        """Write whatever was there before; return the new revision. Without `ttl_ms` the record does not expire.

        Raises:
            InvalidArgumentError: the key or the size is outside the limits.
        """
        ...

    async def create(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        """Write only if there is no such record; return the new revision.

        Raises:
            AlreadyExistsError: the key is taken.
            InvalidArgumentError: the key or the size is outside the limits.
        """
        ...

    async def update(self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None) -> int:
        """Write only if the record still has `revision`; return the new revision. The old TTL does not carry over.

        Raises:
            NotFoundError: there is no such record.
            RevisionMismatchError: it has changed; the error names its current revision.
            InvalidArgumentError: the size is outside the limits.
        """
        ...

    async def delete(self, key: str, *, revision: int | None = None) -> bool:
        """Remove the record; return whether there was one.

        Raises:
            RevisionMismatchError: `revision` is given and is not the record's.
        """
        ...

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        """Return up to `limit` live records whose key starts with `prefix` and sorts after `after`, in key order."""
        ...


def check_record(key: str, value: bytes) -> None:
    """Return if a store may keep this record.

    Raises:
        InvalidArgumentError: the key or the size is outside the limits.
    """
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or any(unicodedata.category(char) in ("Cc", "Cs") for char in key):
        raise InvalidArgumentError(
            f"record key {key!r}: use 1 to {MAX_KEY_CHARACTERS} characters, none a control character"
        )
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidArgumentError(f"record {key!r} has {len(value)} bytes, over the limit of {MAX_RECORD_BYTES}")
