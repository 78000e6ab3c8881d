"""Which nodes can still talk to each other: components of what probes say.

Rules, none of which depends on the order of anything:

- A probed link counts when a round trip worked, whoever of the two made it: that needs both directions. In a plain map
  of who hears whom, a link counts when both ends name each other; one way only is none.
- Neighbours that are no members are ignored.
- A component is a partition of its own only if a probe between it and another failed. What nobody probes belongs to
  the largest side that holds the hub, while the hub hears it: the absence of a probe is no cut.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from meshd.nodes.model import Sightings

JOINED_ROUNDS = 3
"""A split is over when the components have been one for so many rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Nodes that reach each other, directly or through others."""

    nodes: tuple[str, ...]
    hub: tuple[str, ...]
    """Those of them that the hub hears; empty for a side that has lost it."""
    since_ms: int = 0
    """Store time at which its last link to the others went; 0 while there is nothing it is cut from."""

    @property
    def holds_hub(self) -> bool:
        return bool(self.hub)


def components(hears: Mapping[str, Iterable[str]]) -> list[frozenset[str]]:
    """Return the groups of a map of who hears whom, the largest first; only links both ends name count."""
    named = {node: set(others) for node, others in hears.items()}
    links = {(node, other) for node, others in named.items() for other in others if node in named.get(other, ())}
    return _joined(named, links)


def partitions(
    members: Collection[str], sightings: Mapping[str, Sightings], *, on_hub: Collection[str]
) -> list[Partition]:
    """Return the partitions of `members`, those that hold the hub first, then the largest first.

    `sightings` says what each of them probed, `on_hub` which of them the store hears.
    """
    there = set(members)
    links = {(node, other) for node in sightings for other in sightings[node].reached if {node, other} <= there}
    groups = _joined(there, links)
    lost = _failed(there, sightings, groups)
    heard = set(on_hub)
    sides = [group for group in groups if group & heard]
    main = next((group for group in sides if group in lost), sides[0] if sides else frozenset[str]())
    cut = [group for group in groups if group != main and (group in lost or not group & heard)]
    rest = main.union(*(group for group in groups if group not in cut))
    since = [(rest, lost.get(main, 0) if cut else 0), *((group, lost.get(group, 0)) for group in cut)]
    found = [
        Partition(nodes=tuple(sorted(group)), hub=tuple(sorted(group & heard)), since_ms=since_ms)
        for group, since_ms in since
        if group
    ]
    return sorted(found, key=lambda one: (not one.holds_hub, -len(one.nodes), one.nodes))


def edge_faults(members: Collection[str], sightings: Mapping[str, Sightings]) -> list[tuple[str, str]]:
    """Return the links that fail although both ends are in the same partition, each once, sorted."""
    there = set(members)
    reached = {(node, other) for node in sightings for other in sightings[node].reached if {node, other} <= there}
    group_of = {node: group for group in _joined(there, reached) for node in group}
    failed = {
        (min(node, other), max(node, other))
        for node in sightings
        for other in sightings[node].unreached
        if {node, other} <= there and group_of[node] == group_of[other] and not {(node, other), (other, node)} & reached
    }
    return sorted(failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The mesh split, or is whole again."""

    is_healed: bool
    sizes: tuple[int, ...]
    """Of the partitions now."""
    since_ms: int = 0
    """When the split began, for one that is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitWatch:
    """What one observer has seen so far; feed it every round."""

    split_ms: int = 0
    """Since when the mesh is split, 0 while it is not."""
    sizes: tuple[int, ...] = field(default=())
    whole_rounds: int = 0

    def after(self, found: Collection[Partition], *, now_ms: int) -> "tuple[SplitWatch, Change | None]":
        """Return the watch after one round, and the change to tell of, if there is one.

        A split is told at once, again when its sides change; that it is over, after `JOINED_ROUNDS` whole rounds.
        """
        sizes = tuple(len(one.nodes) for one in found)
        if len(found) > 1:
            began_ms = self.split_ms or max((one.since_ms for one in found), default=0) or now_ms
            change = None if sizes == self.sizes else Change(is_healed=False, sizes=sizes, since_ms=began_ms)
            return SplitWatch(split_ms=began_ms, sizes=sizes), change
        if not self.split_ms:
            return SplitWatch(), None
        if self.whole_rounds + 1 < JOINED_ROUNDS:
            return SplitWatch(split_ms=self.split_ms, sizes=self.sizes, whole_rounds=self.whole_rounds + 1), None
        return SplitWatch(), Change(is_healed=True, sizes=sizes, since_ms=self.split_ms)


def _joined(members: Iterable[str], links: Iterable[tuple[str, str]]) -> list[frozenset[str]]:
    """Return the connected components, the largest first, then by name."""
    root = {node: node for node in members}

    def find(node: str) -> str:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for one, other in links:
        root[find(one)] = find(other)
    groups: dict[str, set[str]] = {}
    for node in root:
        groups.setdefault(find(node), set()).add(node)
    return sorted(map(frozenset, groups.values()), key=lambda group: (-len(group), sorted(group)))


def _failed(
    members: set[str], sightings: Mapping[str, Sightings], groups: Iterable[frozenset[str]]
) -> dict[frozenset[str], int]:
    """Return, of each group, when the last probe between it and another began to fail."""
    group_of = {node: group for group in groups for node in group}
    lost: dict[frozenset[str], int] = {}
    for node, seen in sightings.items():
        for other, since_ms in seen.unreached.items():
            if {node, other} <= members and group_of[node] != group_of[other]:
                for group in (group_of[node], group_of[other]):
                    lost[group] = max(lost.get(group, 0), since_ms)
    return lost
