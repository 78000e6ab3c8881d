"""Two stores whose clocks are equal and whose digests are not: find the keys, and let proof decide each.

A key that one store has and the other's clock covers was deleted there, so it goes; a version that is not covered is
sent. Where each clock covers what is only at the other, no proof is left: what differs is written again under another
name, which neither clock covers. Invariants: nothing is dropped that is not proven obsolete, and every difference has
its remedy.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from meshd.memory.digests import bucket_of
from meshd.memory.joining import join
from meshd.memory.model import LOCAL, Dot, Item, NodeClock, Version
from meshd.memory.store import MemoryStore

_PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A store as it was read: the clock before the items."""

    clock: NodeClock
    items: Mapping[str, Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """What stores that know all of a key disagree about."""

    current: Item
    """What is current and not in both stores; all that is current, if both have it."""
    gone: Item
    """What either store has although the other's, or its own, superseded it."""


@dataclass(slots=True)
class Remedies:
    """What makes two stores equal."""

    send: list[Version] = field(default_factory=list[Version])
    take: list[Version] = field(default_factory=list[Version])
    drop_here: dict[str, tuple[Dot, ...]] = field(default_factory=dict[str, tuple[Dot, ...]])
    drop_there: dict[str, tuple[Dot, ...]] = field(default_factory=dict[str, tuple[Dot, ...]])
    again: dict[str, Parted] = field(default_factory=dict[str, Parted])
    """What is to be written again, by key: then each store has all that is current, and nothing else."""

    @property
    def keys(self) -> list[str]:
        """Every key that differs, in order."""
        moved = {version.key for version in (*self.send, *self.take)}
        return sorted(moved.union(self.drop_here, self.drop_there, self.again))


async def read_side(store: MemoryStore, buckets: Collection[int], *, clock: NodeClock) -> Side:
    """Return the items of these buckets; `clock` must have been read before."""
    items: dict[str, Item] = {}
    after, more = "", True
    while more:
        page = await store.list("", limit=_PAGE, after=after)
        items.update((key, item) for key, item in page if bucket_of(key) in buckets)
        more = len(page) == _PAGE
        after = page[-1][0] if page else ""
    return Side(clock=clock, items=items)


def remedies(here: Side, there: Side, *, now_ms: int, may_drop_there: bool) -> Remedies:
    """Return what to do on either side; `may_drop_there`: the other store went back to an earlier state."""
    found = Remedies()
    for key in {**here.items, **there.items}:
        ours = tuple(version for version in here.items.get(key, ()) if version.header.actor != LOCAL)
        theirs = tuple(version for version in there.items.get(key, ()) if version.header.actor != LOCAL)
        lacking = [version for version in ours if version not in theirs]
        missing = [version for version in theirs if version not in ours]
        if not any(version.is_live(now_ms) for version in (*lacking, *missing)):
            continue
        fresh = [version for version in lacking if not _covers(there.clock, version)]
        news = [version for version in missing if not _covers(here.clock, version)]
        found.send += fresh
        found.take += news
        if fresh or news:
            continue
        if lacking and not theirs and ours == here.items[key]:
            found.drop_here[key] = tuple(version.dot for version in ours)
        elif missing and not ours and may_drop_there:
            found.drop_there[key] = tuple(version.dot for version in theirs)
        else:
            found.again[key] = _parted(ours, theirs)
    return found


def _parted(ours: Item, theirs: Item) -> Parted:
    current = join(ours, theirs)
    parted = tuple(version for version in current if version not in ours or version not in theirs)
    gone = tuple(version for version in (*ours, *theirs) if version not in current)
    return Parted(current=parted or current, gone=gone)


def _covers(clock: NodeClock, version: Version) -> bool:
    return clock.get(version.header.actor, 0) >= version.header.seq
