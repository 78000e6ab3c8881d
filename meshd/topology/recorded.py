"""The graph as records, uses as events, and a graph as a document people keep. Pure.

One record per agent holds the edges that begin there and the cursor of the last event counted in them, so an event
read again counts nothing twice. `topology/cursor` says where the log was read up to; it is written last.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from meshd.codec import decode, encode
from meshd.errors import CorruptDataError, InvalidArgumentError
from meshd.events import START
from meshd.topology.graph import check_snapshot
from meshd.topology.model import Edge, Graph, Shape, Use

OUT_PREFIX = "topology/out/"
CURSOR_KEY = "topology/cursor"

FORMAT = "meshd.topology"
VERSION = 1

MOST_AT_ONCE = 1_000_000_000
"""Most messages one row of a telling may stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """What the record of one agent says."""

    agent: str
    home: str = ""
    cursor: str = START
    edges: Sequence[Edge] = ()


def out_key(agent: str) -> str:
    return f"{OUT_PREFIX}{agent}"


def encode_out(out: Out) -> bytes:
    """Return the value of an agent's record."""
    rows = [[e.target, e.weight, e.usage, e.used_ms, e.created_ms, e.touched_ms] for e in out.edges]
    return encode({"home": out.home, "cursor": out.cursor, "edges": rows}, what=f"edges of {out.agent}")


def decode_out(key: str, value: bytes) -> Out:
    """Return what `encode_out` was given.

    Raises:
        CorruptDataError: the value is not that.
    """
    agent = key.removeprefix(OUT_PREFIX)
    try:
        body = decode(value)
        edges = tuple(_edge(agent, row) for row in body["edges"])
        return Out(agent=agent, home=str(body["home"]), cursor=str(body["cursor"]), edges=edges)
    except (KeyError, TypeError, ValueError) as exc:
        raise CorruptDataError(f"record {key!r} does not hold the edges of an agent: {exc}") from exc


def encode_cursor(cursor: str) -> bytes:
    return encode({"cursor": cursor})


def decode_cursor(value: bytes) -> str:
    """Return the cursor of `topology/cursor`.

    Raises:
        CorruptDataError: the value holds none.
    """
    try:
        return str(decode(value)["cursor"])
    except (KeyError, TypeError) as exc:
        raise CorruptDataError(f"record {CURSOR_KEY!r} holds no cursor: {exc}") from exc


def use_body(by: str, uses: Iterable[Use]) -> dict[str, Any]:
    """Return the event that tells of uses."""
    return {"event": "used", "by": by, "uses": [[u.source, u.target, u.count, round(u.quality, 3)] for u in uses]}


def uses_in(body: Mapping[str, Any]) -> list[Use]:
    """Return the uses an event tells of; what cannot be one is left out, since anybody may append to a log."""
    rows: Any = body.get("uses") if body.get("event") == "used" else None
    if not _is_list(rows):
        return []
    return [use for row in rows if (use := _use(row)) is not None]


def snapshot_of(graph: Graph) -> dict[str, Any]:
    """Return the graph as plain JSON types, to be kept and given to `graph_from`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "at_ms": graph.at_ms,
        "shape": graph.shape.value,
        "agents": dict(graph.homes),
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "weight": edge.weight,
                "usage": edge.usage,
                "used_ms": edge.used_ms,
                "created_ms": edge.created_ms,
            }
            for edge in graph.edges
        ],
    }


def graph_from(snapshot: Mapping[str, Any]) -> Graph:
    """Return the graph of a snapshot.

    Raises:
        InvalidArgumentError: it is none.
    """
    if snapshot.get("format") != FORMAT or snapshot.get("version") != VERSION:
        raise InvalidArgumentError(
            f"this is no topology snapshot of version {VERSION}: `mesh topology --json` prints one"
        )
    try:
        at_ms = int(snapshot["at_ms"])
        homes = {str(agent): str(home) for agent, home in snapshot["agents"].items()}
        edges = tuple(_kept_edge(row, at_ms) for row in snapshot["edges"])
        shape = Shape(snapshot["shape"])
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidArgumentError(f"this topology snapshot cannot be read: {exc}") from exc
    graph = Graph(agents=tuple(sorted(homes)), edges=edges, at_ms=at_ms, shape=shape, homes=homes)
    check_snapshot(graph)
    return graph


def moved_to(edge: Edge, *, from_ms: int, now_ms: int) -> Edge:
    """Return the edge as if what was at `from_ms` were now."""
    later = now_ms - from_ms
    return replace(
        edge,
        used_ms=max(1, edge.used_ms + later) if edge.used_ms else 0,
        created_ms=max(0, edge.created_ms + later),
        touched_ms=now_ms,
    )


def _edge(agent: str, row: Sequence[Any]) -> Edge:
    target, weight, usage, used_ms, created_ms, touched_ms = row
    return Edge(
        source=agent,
        target=str(target),
        weight=float(weight),
        usage=int(usage),
        used_ms=int(used_ms),
        created_ms=int(created_ms),
        touched_ms=int(touched_ms),
    )


def _kept_edge(row: Mapping[str, Any], at_ms: int) -> Edge:
    return Edge(
        source=str(row["source"]),
        target=str(row["target"]),
        weight=float(row["weight"]),
        usage=int(row["usage"]),
        used_ms=int(row["used_ms"]),
        created_ms=int(row["created_ms"]),
        touched_ms=at_ms,
    )


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _use(row: Any) -> Use | None:
    match row:
        case [str(source), str(target), int(count), float() | int() as quality]:
            is_one = 1 <= count <= MOST_AT_ONCE and 0 <= quality <= 1
            return Use(source=source, target=target, count=count, quality=float(quality)) if is_one else None
        case _:
            return None
