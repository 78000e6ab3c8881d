"""Versions, items and clocks of the shared memory.

A **version** is one immutable write of one key, named by its **dot**: the actor that wrote it and that actor's sequence
number. An **item** is the set of a key's versions that no other of them has observed (its siblings); nothing else is
ever kept as the state of a key. What a conflict means is decided when the item is read (`policies`), never when it is
stored: so any two stores that received the same versions hold the same bytes, whatever the order.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import NamedTuple

import msgspec

MAX_KEY_BYTES = 512
MAX_BATCH = 100
"""Most versions one push or absorb takes."""
MAX_BATCH_BYTES = 262_144
"""Most bytes of one push or absorb; a single larger version goes alone."""
LOCAL = "~local"
"""Actor of versions that never leave the store they were written on."""
LENT = "~lent-"
"""How the names of actors begin that a store lends: any writer may come to write as one of them."""
PRIORITIES = range(1, 11)
AT_ONCE = 8
"""Versions of at least this priority are sent without waiting for others."""


class Dot(NamedTuple):
    """Name of a version. Per actor, numbers rise by one over all keys, and none is used twice."""

    actor: str
    seq: int


class Strategy(StrEnum):
    """How a write becomes known."""

    EVENTUAL = "eventual"
    """Answered after the local commit, sent soon after: possible while cut off."""
    STRONG = "strong"
    """Answered after the hub took it, in one order for all; refused while the hub is away."""
    MASTER_SLAVE = "master_slave"
    """Only the holder of the prefix's lease writes; fenced by its epoch."""
    PEER_TO_PEER = "peer_to_peer"
    """No hub: nodes tell each other."""


class Policy(StrEnum):
    """What the value of a key is while it has several siblings."""

    LATEST_WINS = "latest_wins"
    MERGE_COMPATIBLE = "merge_compatible"
    SOURCE_PRIORITY = "source_priority"
    VERSION_VECTOR = "version_vector"
    MANUAL = "manual"
    CUSTOM = "custom"


class Kind(StrEnum):
    """What a value is, and so how two of them merge."""

    VALUE = "value"
    """Any JSON."""
    COUNTER = "counter"
    """A number that several may raise and lower at once."""
    SET = "set"
    """JSON values that several may add and remove at once; an addition wins over a concurrent removal."""
    MAP = "map"
    """A JSON object whose fields several may change at once, as `merge_compatible` stores it."""


class Flag(IntFlag):
    NONE = 0
    TOMBSTONE = 1
    """The key was deleted."""


_TOMBSTONE = int(Flag.TOMBSTONE)
"""A plain number: arithmetic with flags costs more than all else that judging a version takes."""


class Header(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a version says of itself, in the order it is stored; new fields go to the end, older readers pass them on.

    The Redis scripts read the first seven by their place.
    """

    actor: str
    seq: int
    observed: dict[str, int]
    """Per actor, the newest of its writes of this key that the writer had seen; the actor's own are implied."""
    ms: int
    """Hybrid logical time: milliseconds, then `tick`."""
    flags: int = 0
    expires_ms: int = 0
    """When it is gone, in Unix milliseconds; 0: never."""
    key: str
    tick: int = 0
    policy: str = Policy.LATEST_WINS
    """The policy of the key's prefix when it was written; `custom:<name>` for a function."""
    kind: str = Kind.VALUE
    priority: int = 5
    rank: int = 0
    """Rank of the writer under `source_priority`."""
    node: str = ""
    agent: str = ""
    task: str = ""
    note: str = ""
    """Why: evidence, a reason, the sync or rollback it belongs to."""
    undoes: str = ""
    """The dot `actor:seq` this version takes back, if it is part of a rollback."""
    edition: int = 1
    """One more than the highest its writer had seen of the key; writes that do not know of each other share one."""

    @property
    def dot(self) -> Dot:
        return Dot(self.actor, self.seq)

    @property
    def time(self) -> tuple[int, int, str]:
        """Total order of versions that agrees with causality."""
        return (self.ms, self.tick, self.actor)

    @property
    def is_tombstone(self) -> bool:
        return bool(self.flags & _TOMBSTONE)


class Version(msgspec.Struct, frozen=True, gc=False):
    """A version as it travels and is stored: `blob` is never encoded anew, so what this code does not know survives."""

    header: Header
    body: bytes
    """The value as `codec.encode` writes it; empty for a tombstone."""
    blob: bytes
    """Header, body and checksum: what stores keep."""

    @property
    def dot(self) -> Dot:
        return self.header.dot

    @property
    def key(self) -> str:
        return self.header.key

    @property
    def checksum(self) -> bytes:
        return self.blob[-16:]

    def is_live(self, now_ms: int) -> bool:
        """Whether it is a value at this time: no tombstone, and not expired."""
        header = self.header
        return not header.flags & _TOMBSTONE and not 0 < header.expires_ms <= now_ms


Item = tuple[Version, ...]
"""The siblings of one key, sorted by dot; empty: nothing is known of the key."""

NodeClock = Mapping[str, int]
"""Per actor, the number up to which every one of its versions was received. One that is covered and not there is
known to have been superseded, or deleted and collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreClock:
    """Where a store stands."""

    generation: str
    """Random name of this data set: another one means that the store lost everything."""
    revision: int
    """Rises with each change of an item."""
    clock: NodeClock
    now_ms: int
    items: int
    """Keys it holds, tombstones included."""
    value_bytes: int
    """Bytes of all items."""
    quarantined: Mapping[str, str] = field(default_factory=dict[str, str])
    """Nodes in quarantine, and why."""


class Applied(StrEnum):
    """What became of one version."""

    APPLIED = "applied"
    """It is the only sibling now."""
    SIBLING = "sibling"
    """It stands beside others that it did not observe, nor they it."""
    OBSOLETE = "obsolete"
    """Another sibling had observed it already."""
    KNOWN = "known"
    """It was received before; nothing changed."""
    CONFLICT = "conflict"
    """Its condition does not hold; nothing changed. The reply has the current item."""
    REFUSED = "refused"
    """Outside a limit, quarantined, fenced, or from the future; nothing changed. The reply says why."""


class Refusal(StrEnum):
    """Why a store refuses a version, or a batch."""

    TOO_LARGE = "too_large"
    FULL = "full"
    """The mesh may have no more items or bytes."""
    FUTURE = "future"
    """Its time is further ahead of the store's than `max_drift_ms`."""
    QUARANTINED = "quarantined"
    FENCED = "fenced"
    """The batch's lease, on its actor or as master of a prefix, was taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of one version of a batch."""

    applied: Applied
    current: tuple[Dot, ...] = ()
    """The dots of the key's siblings afterwards."""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Versions of one actor, to be pushed in the order they were made."""

    actor: str
    first: int
    """Follows the last number the store has of this actor; numbers of the range that no version has are superseded or
    were never used."""
    last: int
    versions: Sequence[Version]
    conditions: Mapping[str, tuple[Dot, ...]] = field(default_factory=dict[str, tuple[Dot, ...]])
    """Per key, the exact siblings the store must have before the batch: empty tuple: none that is live."""
    token: int = 0
    """Token of the actor's lease, for actors that are leased; 0 for a replica's own."""
    master: tuple[str, int] | None = None
    """Prefix and epoch under which the batch is written, for `master_slave`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What became of a batch. With `gap`, nothing was taken: push again from `seq + 1`."""

    generation: str
    revision: int
    """The store's revision afterwards."""
    seq: int
    """The last number the store has of the actor."""
    replies: Sequence[Reply]
    """One per version, in order; empty with `gap`. After a refused version nothing of the batch was taken."""
    gap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Items as they are after a change; a reader that stands at `after` stands at `revision` once it has them."""

    generation: str
    after: int
    revision: int
    versions: Sequence[Version]
    """Every sibling of every changed key."""
    wanted: bool = False
    """Somebody waits until replicas report this revision: report at once."""
    more: bool = False
    """There are changes beyond `revision`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Sums of the fingerprints of all live versions, by bucket of the key, modulo 2^64."""

    buckets: bytes
    """Big-endian unsigned 64-bit sums, `BUCKETS` of them."""
    now_ms: int
    """Versions that expire up to then are left out."""

    @property
    def mark(self) -> str:
        """SHA-1 of the buckets: equal marks mean equal digests."""
        return hashlib.sha1(self.buckets, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLease:
    """The right to write as an actor that is handed from client to client."""

    actor: str
    seq: int
    """Its last number used."""
    token: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mastery:
    """Who may write under a prefix."""

    prefix: str
    holder: str
    epoch: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A replica that the store collects garbage for."""

    node: str
    actor: str
    revision: int
    """Up to which it has every change."""
    seen_ms: int
    state: Mapping[str, int | str] = field(default_factory=dict[str, "int | str"])
    """What it last said of its syncing: pending, applied, rejected, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """What a store takes."""

    max_item_bytes: int = 1_048_576
    """Most bytes of one version, header and checksum included."""
    max_items: int = 10_000_000
    max_bytes: int = 8_589_934_592
    max_drift_ms: int = 60_000
    history: int = 10
    """Versions kept per key beside the current ones."""
    history_ttl_ms: int = 604_800_000
    evict_after_ms: int = 604_800_000
    """A replica silent for so long holds up no collection, and compares everything when it returns."""
