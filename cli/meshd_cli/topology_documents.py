"""What the commands about the topology print as JSON."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshd.topology.graph import Path
    from meshd.topology.model import Graph, GraphStatistics
    from meshd.topology.selection import Suggestion


def topology_document(graph: "Graph", statistics: "GraphStatistics") -> dict[str, Any]:
    """Return the snapshot of a graph, which `mesh topology restore` takes back, with its numbers."""
    from dataclasses import asdict

    from meshd.topology.recorded import snapshot_of

    return {"kind": "topology", **snapshot_of(graph), "statistics": asdict(statistics)}


def path_document(start: str, end: str, path: "Path | None") -> dict[str, Any]:
    found: dict[str, Any] = {"agents": [], "weights": [], "weakest": None, "cost": None}
    if path is not None:
        found = {
            "agents": list(path.agents),
            "weights": [round(weight, 6) for weight in path.weights],
            "weakest": round(path.weakest, 6),
            "cost": round(path.cost, 6),
        }
    return {"kind": "path", "from": start, "to": end, "is_cut": path is None, **found}


def suggestion_document(agents: int, suggestion: "Suggestion") -> dict[str, Any]:
    return {
        "kind": "suggestion",
        "agents": agents,
        "shape": suggestion.shape.value,
        "links": suggestion.links,
        "reasons": list(suggestion.reasons),
        "rejected": {shape.value: why for shape, why in suggestion.rejected.items()},
    }
