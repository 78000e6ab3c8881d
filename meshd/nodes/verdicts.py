"""What the mesh concludes about a node, and from what.

| | peers reach it, or none probes it | peers do not reach it |
| --- | --- | --- |
| **the hub hears it** | alive | edge fault: alive, only those links are avoided |
| **the hub does not** | partitioned from the hub while a peer vouches for it | dead |

A silence that no sweep has judged yet is `suspect`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median

from meshd.nodes.model import FLAP_WINDOW_MS, MAX_FLAPS, Node, Verdict
from meshd.nodes.phi import phi

SHOWN = 5
"""Most nodes a line of evidence names."""


class Condition(StrEnum):
    """A verdict, with what the peers say beside it."""

    ALIVE = "alive"
    EDGE_FAULT = "edge fault"
    """The hub hears it and some peers do not reach it: it works, those links do not."""
    SUSPECT = "suspect"
    PARTITIONED = "partitioned from hub"
    DEAD = "dead"


def verdict_of(*, is_dead: bool, now_ms: int, doubt_ms: int, vouched_ms: int, timeout_ms: int) -> Verdict:
    """Return the verdict a reader shows: what a sweep judged, and until then what the silence says by itself."""
    if is_dead:
        return Verdict.DEAD
    if now_ms <= doubt_ms:
        return Verdict.ALIVE
    return Verdict.PARTITIONED if vouched_ms and now_ms <= vouched_ms + timeout_ms else Verdict.SUSPECT


def flaps_since(returns_ms: Iterable[int], *, now_ms: int) -> int:
    """Return how often a node came back in the last hour."""
    return len([at_ms for at_ms in returns_ms if at_ms > now_ms - FLAP_WINDOW_MS])


def with_flap(returns_ms: Iterable[int], *, now_ms: int) -> list[int]:
    """Return when it came back, now too, newest first, as far as that is remembered."""
    recent = [at_ms for at_ms in returns_ms if at_ms > now_ms - FLAP_WINDOW_MS]
    return [now_ms, *recent][:MAX_FLAPS]


def conclude(*, hub_hears: bool, peers_reach: bool | None) -> Condition:
    """Return the verdict table's answer; `peers_reach` is nothing where nobody probes."""
    if hub_hears:
        return Condition.EDGE_FAULT if peers_reach is False else Condition.ALIVE
    return Condition.PARTITIONED if peers_reach else Condition.DEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why a node is taken for what it is."""

    node_id: str
    condition: Condition
    phi: float
    """How unlikely its silence is, as a power of ten; over 8 suspect, over 12 past its bound."""
    reached_by: tuple[str, ...] = ()
    unreached_by: Mapping[str, int]
    """Live nodes that do not reach it, each with the store time since when."""
    round_trip_ms: float | None = None
    """Median over those that reach it."""
    lines: tuple[str, ...]
    """The same in words."""


def evidence_of(node: Node, mesh: Sequence[Node]) -> Evidence:
    """Return what speaks for and against `node`, from its record and from what the live nodes of `mesh` probed."""
    watchers = [other for other in mesh if other.verdict is Verdict.ALIVE and other.id != node.id]
    reached_by = tuple(sorted(other.id for other in watchers if node.id in other.sightings.reached))
    unreached_by = {
        other.id: other.sightings.unreached[node.id]
        for other in sorted(watchers, key=lambda other: other.id)
        if node.id in other.sightings.unreached and node.id not in other.sightings.reached
    }
    trips = [other.sightings.round_trip_ms[node.id] for other in watchers if node.id in other.sightings.round_trip_ms]
    silence = phi(now_ms=node.read_ms, doubt_ms=node.doubt_ms, bound_ms=node.bound_ms)
    return Evidence(
        node_id=node.id,
        condition=_condition(node, is_unreached=bool(unreached_by)),
        phi=silence,
        reached_by=reached_by,
        unreached_by=unreached_by,
        round_trip_ms=median(trips) if trips else None,
        lines=tuple(_lines(node, silence, reached_by, unreached_by)),
    )


def _condition(node: Node, *, is_unreached: bool) -> Condition:
    match node.verdict:
        case Verdict.SUSPECT:
            return Condition.SUSPECT
        case Verdict.ALIVE:
            return conclude(hub_hears=True, peers_reach=not is_unreached)
        case Verdict.PARTITIONED | Verdict.DEAD:
            return conclude(hub_hears=False, peers_reach=node.verdict is Verdict.PARTITIONED)


def _lines(node: Node, silence: float, reached_by: Sequence[str], unreached_by: Mapping[str, int]) -> Iterable[str]:
    yield f"last beat {node.beat_age_ms / 1000:.1f} s ago, phi {silence:.0f}"
    if node.verdict is Verdict.PARTITIONED:
        ago = (node.read_ms - node.vouched_ms) / 1000
        yield f"{node.vouched_by} reaches it and vouched for it {ago:.1f} s ago"
    if unreached_by:
        verb = "does" if len(unreached_by) == 1 else "do"
        yield f"{_named(list(unreached_by))} {verb} not reach it since {_moment(min(unreached_by.values()))}"
    if reached_by:
        verb = "reaches" if len(reached_by) == 1 else "reach"
        yield f"{_named(reached_by)} {verb} it"
    if not reached_by and not unreached_by and node.verdict is not Verdict.PARTITIONED:
        yield "no other node probes it"
    if node.flaps:
        times = "once" if node.flaps == 1 else f"{node.flaps} times"
        yield f"went and came back {times} in the last hour"


def _named(node_ids: Sequence[str]) -> str:
    shown = ", ".join(node_ids[:SHOWN])
    return f"{shown} and {len(node_ids) - SHOWN} more" if len(node_ids) > SHOWN else shown


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S UTC")
