"""What goes into a prober and what comes out of it: options, events, actions, and its view of the others."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    interval_ms: float = 1_000.0
    timeout_ms: float = 500.0
    """Of a direct ping on a quick way; stretched by a slow way, and by doubt of oneself up to two intervals."""
    indirect: int = 3
    """Nodes asked to try when one does not answer."""
    neighbours: int = 8
    """Nodes probed each interval, beside one chosen by chance."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a member is, and which life of it is meant."""

    address: str
    life: int
    """Its incarnation at the store."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; due at `Probing.due`."""


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram came."""

    address: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """This node is a member, in this life."""

    life: int


@dataclass(frozen=True, slots=True)
class Members:
    """Who is a member and has links; this node itself is left out."""

    peers: Mapping[str, Peer]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom to probe each interval from now on; places that are left are filled by the ring."""

    nodes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Suspects:
    """The store does not hear these: probe them at once, and vouch for those that answer."""

    nodes: Collection[str]


Event = Tick | Received | Joined | Members | Neighbours | Suspects


@dataclass(frozen=True, slots=True)
class Send:
    address: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Vouch:
    """This node answered just now, as it was asked for by `Suspects`."""

    node: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """Somebody is here whom the members as given do not have: read them again."""


Action = Send | Vouch | Outdated


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a prober sees of the nodes it probes."""

    reached: Mapping[str, float]
    """Each with the median round trip, in milliseconds."""
    unreached: Mapping[str, float]
    """Each with the time since when."""
    suspected: frozenset[str]
    """Nodes that nobody who tried reaches: told by any prober, not refuted yet."""
