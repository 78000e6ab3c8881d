"""The join of items. Pure; commutative, associative and idempotent, for every policy.

A version has observed another of its key if its `observed` covers the other's dot, or if both are of one actor and its
number is higher. An item holds the versions that no other has observed: the maximal elements of what was received.
Source: dotted version vectors, Almeida, Baquero, Gonçalves, Preguiça, Fonte: "Scalable and accurate causality tracking
for eventually consistent stores", DAIS 2014; node clocks: Gonçalves, Almeida, Baquero, Fonte, DAIS 2015.
"""

from bisect import insort
from collections.abc import Iterable

from meshd.memory.model import LOCAL, Applied, Dot, Header, Item, NodeClock, Version


def observes(version: Header, dot: Dot) -> bool:
    """Return whether the writer of `version` had seen the other version of the same key, named by `dot`."""
    if version.actor == dot.actor:
        return version.seq > dot.seq
    return version.observed.get(dot.actor, 0) >= dot.seq


def join(*items: Item) -> Item:
    """Return the item that has received everything these have."""
    versions = {version.dot: version for item in items for version in item}
    if len(versions) < 2:
        return tuple(versions.values())
    return tuple(
        versions[dot]
        for dot in sorted(versions)
        if not any(observes(other.header, dot) for other in versions.values() if other.dot != dot)
    )


def admit(item: Item, version: Version, clock: NodeClock) -> tuple[Applied, Item]:
    """Return what becomes of `version` in a store that has `item` under its key, and the item afterwards.

    The store's clock knows what the item does not: a version that is covered and not there was superseded before.
    """
    header = version.header
    actor, seq, seen = header.actor, header.seq, header.observed
    if clock.get(actor, 0) >= seq:
        return Applied.KNOWN, item
    left: list[Version] = []
    for kept in item:
        other = kept.header
        if other.actor == actor:
            if other.seq >= seq:
                return (Applied.KNOWN if other.seq == seq else Applied.OBSOLETE), item
        elif other.observed.get(actor, 0) >= seq:
            return Applied.OBSOLETE, item
        elif seen.get(other.actor, 0) < other.seq:
            left.append(kept)
    applied = Applied.SIBLING if left else Applied.APPLIED
    insort(left, version, key=_dot_of)
    return applied, tuple(left)


def _dot_of(version: Version) -> Dot:
    return version.dot


def observed_in(item: Iterable[Version], *, actor: str) -> dict[str, int]:
    """Return what a version written over all of `item` by `actor` has observed.

    What the store has of the actor itself must be among it or observed by it: a later number of one actor counts as
    having seen the earlier ones, but not what those had seen.
    """
    seen: dict[str, int] = {}
    for version in item:
        header = version.header
        for other, seq in (*header.observed.items(), (header.actor, header.seq)):
            if other != actor and seq > seen.get(other, 0):
                seen[other] = seq
    return seen


def last_of(item: Iterable[Version], *, actor: str) -> int:
    """Return the newest number of `actor` among the versions of an item and all they have observed."""
    return max((v.header.seq if v.header.actor == actor else v.header.observed.get(actor, 0) for v in item), default=0)


def is_spent(item: Item, *, covered: NodeClock, now_ms: int) -> bool:
    """Return whether an item can be forgotten by a store whose clock has reached `covered`.

    Nothing in it is live, and every version it is or had observed would be known if it came again. It goes whole or
    not at all, in every store, so that stores differ in items and never in siblings.
    """
    return all(
        not version.is_live(now_ms)
        and (version.header.actor == LOCAL or covered.get(version.header.actor, 0) >= version.header.seq)
        and all(covered.get(actor, 0) >= seq for actor, seq in version.header.observed.items())
        for version in item
    )


def cover(clock: NodeClock, other: NodeClock) -> dict[str, int]:
    """Return the smallest clock that covers both."""
    return {actor: max(clock.get(actor, 0), other.get(actor, 0)) for actor in (*clock, *other)}


def behind(clock: NodeClock, other: NodeClock) -> dict[str, int]:
    """Return, for each actor of which `other` has received more, how far `clock` is."""
    return {actor: clock.get(actor, 0) for actor, seq in other.items() if seq > clock.get(actor, 0)}
