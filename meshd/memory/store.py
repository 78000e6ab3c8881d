"""The memory port: items by key, a node clock, and an order of changes.

Promises, for every implementation:

- Convergence: stores that received the same versions hold the same siblings, bytes and digest per key, whatever the
  order and however often each came (`joining`).
- Every call is atomic; the calls that take a batch take it whole or, where they say so, nothing of it.
- A version taken is current, beside others, in the history, or was observed by one that is: none vanishes unseen.
- The order of changes: each change of an item gives it the next revision. A reader that stands at a revision and reads
  `changes` until `more` is false has the newest state of every item, however long it was away. Intermediate states may
  be left out; none is ever trimmed.
- A version of `LOCAL` is stored, and appears in no clock, change or digest.
- `max_drift_ms`, expiry and leases are judged by the store's clock.

The node clock says what was received; the digest says whether two stores that should be equal are.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from meshd.memory.model import (
    ActorLease,
    Batch,
    Change,
    Digest,
    Dot,
    Item,
    Mastery,
    Member,
    NodeClock,
    Pushed,
    Reply,
    StoreClock,
    Version,
)


class Feed(Protocol):
    """Changes as they are made. A hint: compare `Change.after` with where you stand, and read what is missing."""

    async def get(self, *, timeout_ms: int, known: int = 0) -> Change | None:
        """Return the next change, or `None` after `timeout_ms`.

        Large changes come without their versions, and so may those up to revision `known`.

        Raises:
            StoreUnreachableError: the store is gone; a later call tries again.
        """
        ...


class MemoryStore(Protocol):
    """Durable items of one mesh."""

    async def push(self, batch: Batch, *, wanted: bool = False) -> Pushed:
        """Take an actor's next versions, in order; idempotent: what was received before answers `KNOWN`.

        - A batch that does not follow the actor's last number is a gap: nothing is taken, the reply says where it is.
        - Conditions are checked against the state before the batch; if one fails or a version is refused, nothing of
          the batch is taken, the replies of the others are `KNOWN` or `CONFLICT` with no current dots, and `seq` stays.
        - With `wanted`, the change asks replicas to report at once.
        - Observers of the feed are told after the change is made, before this returns.

        Raises:
            InvalidArgumentError: over `MAX_BATCH` versions, or numbers outside `first` to `last`.
            BackpressureError: the store's memory is full.
        """
        ...

    async def absorb(
        self, versions: Sequence[Version], *, clock: NodeClock | None = None, generation: str | None = None
    ) -> Sequence[Reply]:
        """Take versions of any actors, each once. With `clock`, the store's clock covers it afterwards.

        Pass the clock of where they came from with the last of them only: then everything it covers was received.
        Sums must have been checked. Versions outside the limits are refused one by one, and the clock of an actor one
        of whose versions was refused is not raised.
        With `generation`, a store that is another data set by now takes nothing, refuses all as `FENCED`, and its clock
        stays: it would vouch for what it lost.
        """
        ...

    async def get(self, keys: Sequence[str]) -> Sequence[Item]:
        """Return the items of these keys, tombstones and expired versions included, in the order asked.

        Raises:
            CorruptDataError: an item's bytes are damaged.
        """
        ...

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        """Return up to `limit` items whose key starts with `prefix` and is over `after`, by the bytes of the key."""
        ...

    async def clock(self) -> StoreClock:
        """Return where the store stands."""
        ...

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        """Return the items changed after a revision, in the order of their last change."""
        ...

    async def newer(self, clock: NodeClock, *, after: str = "", limit: int = 1_000) -> tuple[Sequence[Version], str]:
        """Return versions that `clock` does not cover, by key, and the key to continue `after`; empty: that was all."""
        ...

    def follow(self) -> AbstractAsyncContextManager[Feed]:
        """Open the feed: every change made after the block is entered is told, while connected."""
        ...

    async def digest(self) -> Digest:
        """Return the sums over all live versions; expiry up to the store's time now is applied first."""
        ...

    async def mark(self) -> str:
        """Return `Digest.mark` of the digest as it is now: few bytes, when two stores are probably equal."""
        ...

    async def history(self, keys: Sequence[str], *, limit: int = 100) -> Sequence[Sequence[Version]]:
        """Return for each key the versions that are not current any more and still kept, newest received first.

        Up to `limit` of a key. Many keys are read in several steps; the versions of one key are of one moment.
        """
        ...

    async def contested(self, prefix: str = "", *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        """Return items with more than one live sibling, by key."""
        ...

    async def sweep(self) -> int:
        """Apply expiry, and collect tombstones and expired versions that every member has; return how many went.

        Also forgets old history, leases that ended, and members silent for `evict_after_ms`.
        """
        ...

    async def report(self, member: Member) -> bool:
        """Note how far a replica is; return false if it is new or was evicted: then it must compare everything once."""
        ...

    async def check_in(self, member: Member) -> tuple[bool, StoreClock]:
        """Do what `report` and then `clock` do, at the price of one call; return what both return."""
        ...

    async def members(self) -> Sequence[Member]:
        """Return the replicas not evicted, by node."""
        ...

    async def drop(self, keys: Mapping[str, tuple[Dot, ...]]) -> int:
        """Remove items without a trace where these are exactly their siblings; return how many.

        For a replica that returns after its eviction: what the mesh knew and has not, it has deleted.
        """
        ...

    async def lease_actor(self, *, owner: str, ttl_ms: int) -> ActorLease:
        """Lend an actor no other owner has; one that was given back or whose lease ended is lent again."""
        ...

    async def renew_actor(self, lease: ActorLease, *, ttl_ms: int) -> ActorLease:
        """Prolong the lease.

        Raises:
            FencedError: it ended, and somebody else has the actor.
        """
        ...

    async def return_actor(self, lease: ActorLease) -> None:
        """Give the actor back. Harmless when the lease ended."""
        ...

    async def take_mastery(self, prefix: str, *, holder: str, ttl_ms: int) -> Mastery:
        """Become or stay the master of a prefix, or learn who is. A new holder gets a higher epoch."""
        ...

    async def resign(self, mastery: Mastery) -> None:
        """Give the prefix up. Harmless when it has another master."""
        ...

    async def quarantine(self, node: str, *, reason: str) -> None:
        """Refuse versions of a node's actors from now on."""
        ...

    async def readmit(self, node: str) -> bool:
        """Take a node's versions again; return whether it was quarantined."""
        ...

    async def quarantined(self) -> Mapping[str, str]:
        """Return the nodes in quarantine, and why."""
        ...
