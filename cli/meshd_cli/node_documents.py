"""What commands tell about the mesh's own state, as plain JSON types: evidence, partitions, what became of nodes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshd.nodes.history import NodeEvent, SplitEvent
from meshd.nodes.model import Node, Sightings, Verdict
from meshd.nodes.partitions import Partition, partitions
from meshd.nodes.service import Connectivity
from meshd.nodes.uptime import Uptime
from meshd.nodes.verdicts import Evidence, evidence_of
from meshd_cli.documents import moment

if TYPE_CHECKING:
    from meshd.runtime.own_view import OwnView


def judged(document: Mapping[str, Any], node: Node, everybody: Sequence[Node]) -> dict[str, Any]:
    """Return a node's document with what the mesh concludes and from what."""
    found = evidence_of(node, everybody)
    return {
        **document,
        "condition": found.condition.value,
        "phi": round(found.phi, 1),
        "flaps": node.flaps,
        "round_trip_ms": None if found.round_trip_ms is None else round(found.round_trip_ms, 3),
        "evidence": _evidence_document(found, node),
    }


def _evidence_document(found: Evidence, node: Node) -> dict[str, Any]:
    return {
        "lines": list(found.lines),
        "reached_by": list(found.reached_by),
        "unreached_by": {node_id: moment(since) for node_id, since in found.unreached_by.items()},
        "vouched_by": node.vouched_by or None,
        "vouched_at": moment(node.vouched_ms or None),
        "suspect_at": moment(node.doubt_ms),
        "dead_at": moment(node.bound_ms),
        "beat_mean_ms": round(node.mean_beat_ms, 1),
        "beat_deviation_ms": round(node.beat_deviation_ms, 1),
    }


def connectivity_document(found: Connectivity, recent: Sequence[SplitEvent] = ()) -> dict[str, Any]:
    """Return who reaches whom, as the hub knows it."""
    return {
        "kind": "partitions",
        "source": "hub",
        "stale": False,
        "at": moment(found.read_ms or None),
        "whole": found.is_whole,
        "partitions": [_partition_document(one) for one in found.partitions],
        "cut_from_hub": list(found.cut_from_hub),
        "unheard": list(found.unheard),
        "edge_faults": [list(pair) for pair in found.edge_faults],
        "probing_nodes": found.probes,
        "recent": [_split_document(event) for event in recent],
    }


def _split_document(event: SplitEvent) -> dict[str, Any]:
    change = event.change
    return {
        "at": moment(event.at_ms),
        "event": "healed" if change.is_healed else "split",
        "sizes": list(change.sizes),
        "since": moment(change.since_ms),
    }


def own_view_document(views: "Sequence[OwnView]") -> dict[str, Any]:
    """Return who reaches whom as this machine's nodes last saw it by themselves, with the hub away."""
    sightings = {
        view.node: Sightings(reached=frozenset(view.reached), unreached=view.unreached, at_ms=view.at_ms)
        for view in views
    }
    sides = {view.node for view in views}.union(*(view.reached for view in views))
    unheard = {node for view in views for node in view.unreached} - sides
    found = partitions(sides, sightings, on_hub=[view.node for view in views if view.hub_reachable])
    return {
        "kind": "partitions",
        "source": ", ".join(view.node for view in views),
        "stale": True,
        "at": moment(max(view.at_ms for view in views)),
        "whole": False,
        "partitions": [_partition_document(one) for one in found],
        "cut_from_hub": sorted(view.node for view in views if not view.hub_reachable),
        "unheard": sorted(unheard),
        "edge_faults": [],
        "probing_nodes": len(views),
        "recent": [],
    }


def _partition_document(one: Partition) -> dict[str, Any]:
    return {
        "nodes": list(one.nodes),
        "size": len(one.nodes),
        "holds_hub": one.holds_hub,
        "on_hub": list(one.hub),
        "since": moment(one.since_ms or None),
    }


def mesh_state(found: Connectivity, nodes: Sequence[Node]) -> dict[str, Any]:
    """Return in one word and one line whether the mesh is whole."""
    if len(found.partitions) > 1:
        sizes = " + ".join(str(len(one.nodes)) for one in found.partitions)
        return {"state": "partitioned", "detail": f"{sizes} nodes do not reach each other; `mesh partitions` shows who"}
    troubles = [
        *(f"{node_id} is cut from the store" for node_id in found.cut_from_hub),
        *(f"{node.id} is {node.verdict}" for node in nodes if node.verdict in (Verdict.SUSPECT, Verdict.DEAD)),
        *(f"{one} and {other} do not reach each other" for one, other in found.edge_faults),
    ]
    if not troubles:
        return {"state": "whole", "detail": ""}
    more = f"; {len(troubles) - 3} more" if len(troubles) > 3 else ""
    state = "partitioned" if found.cut_from_hub else "degraded"
    return {"state": state, "detail": "; ".join(troubles[:3]) + more}


def event_document(event: NodeEvent) -> dict[str, Any]:
    return {
        "at": moment(event.at_ms),
        "node": event.node_id,
        "event": event.event,
        "incarnation": event.incarnation,
        "by": event.by or None,
    }


def uptime_document(node_id: str, uptime: Uptime, agents: Sequence[str]) -> dict[str, Any]:
    """Return how much of the time a node was there, and so the agents that live on it."""
    return {
        "node": node_id,
        "agents": list(agents),
        "share": None if uptime.share is None else round(uptime.share, 6),
        "up_seconds": round(uptime.up_ms / 1000, 3),
        "observed_seconds": round(uptime.observed_ms / 1000, 3),
        "joins": uptime.joins,
        "failures": uptime.failures,
        "departures": uptime.departures,
    }
