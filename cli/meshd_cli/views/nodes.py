"""How nodes and their agents look."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import age, heading, item, load, names, plain, quiet, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per node."""
    rows = [
        (
            node["id"],
            node["type"],
            word(node["status"]),
            word(node["condition"]),
            load(node),
            f"{node['host']}:{node['port']}",
            round_trip(node),
            node["flaps"] or "",
            f"{node['phi']:.0f}",
            age(node["heartbeat_age_seconds"]),
        )
        for node in document["nodes"]
    ]
    columns = ("NODE", "TYPE", "STATUS", "VERDICT", "LOAD", "HOST", ">ROUND TRIP", ">FLAPS", ">PHI", ">HEARTBEAT")
    yield table(columns, rows)


def round_trip(node: Mapping[str, Any]) -> str:
    """Return how long others' probes of a node take, empty where nobody probes it."""
    return "" if node["round_trip_ms"] is None else f"{node['round_trip_ms']:.2f} ms"


def history(document: "Document") -> "Iterator[RenderableType]":
    """Yield what happened, then how much of the time each node was there."""
    rows = [
        (event["at"], event["node"], word(event["event"]), f"by {event['by']}" if event["by"] else "")
        for event in document["events"]
    ]
    yield table(("AT", "NODE", "EVENT", ""), rows)
    yield plain("")
    yield table(
        ("NODE", ">UP", ">OF OBSERVED", ">JOINED", ">FAILED", ">LEFT", "AGENTS"),
        [
            (
                uptime["node"],
                f"{uptime['share']:.2%}",
                age(uptime["observed_seconds"]),
                uptime["joins"],
                uptime["failures"],
                uptime["departures"],
                names(uptime["agents"]),
            )
            for uptime in document["uptimes"]
        ],
    )


def agents(document: "Document") -> "Iterator[RenderableType]":
    """Yield every node with its agents, then the sums."""
    yield heading("Mesh Agents Overview")
    yield plain("=" * 60)
    for node in document["nodes"]:
        local = " (this machine)" if node["id"] == document["local_node"] else ""
        yield heading(f"Node {node['id']}{local}:")
        yield from details(node)
        yield plain("")
    totals = document["totals"]
    yield plain(
        f"{totals['nodes']} nodes, {totals['active_nodes']} active, {totals['agents']} agents, "
        f"{totals['open_tasks']} of {totals['capacity']} slots taken"
    )
    if document["hint"]:
        yield quiet(f"Next: {document['hint']}")


def one(document: "Document") -> "Iterator[RenderableType]":
    """Yield everything about one node."""
    node = document["node"]
    yield heading(f"Node {node['id']}")
    yield from details(node)
    yield item("Joined", f"{node['joined_at']} (incarnation {node['incarnation']}, pid {node['pid']})")
    yield item("Task types", names(node["task_types"]))
    yield item("Verdict", word(node["condition"]))
    for line in node["evidence"]["lines"]:
        yield item("Evidence", line)
    beats = node["evidence"]
    yield item("Beats", f"every {beats['beat_mean_ms']:.0f} ms, give or take {beats['beat_deviation_ms']:.0f} ms")
    yield item("Flaps", f"{node['flaps']} in the last hour")
    if node["round_trip_ms"] is not None:
        yield item("Round Trip", round_trip(node))


def details(node: Mapping[str, Any]) -> "Iterator[RenderableType]":
    """Yield the fields of one node."""
    yield item("ID", node["id"])
    yield item("Type", node["type"])
    draining = " (draining)" if node["draining"] else ""
    yield item("Status", word(node["status"], upper=True).append(draining))
    yield item("Host", f"{node['host']}:{node['port']}")
    yield item("Load", load(node))
    yield item("Memory", f"{node['memory_mb']:.1f}MB")
    yield item("CPU", f"{node['cpu_percent']:.1f}%")
    yield item("Avg Response", f"{node['average_response_ms']:.1f}ms")
    yield item("Tasks Done", node["tasks_completed"])
    yield item("Error Rate", f"{node['error_rate']:.1%}")
    yield item("Capabilities", names(node["capabilities"]))
    if node["levels"]:
        yield item("Levels", names([f"{name} {level}" for name, level in node["levels"].items()]))
    if node["labels"]:
        yield item("Labels", names([f"{name}={value}" for name, value in node["labels"].items()]))
    yield item("Specializations", names(node["specializations"]))
    yield item("Last Heartbeat", word(node["band"]).append(f", {age(node['heartbeat_age_seconds'])} ago"))
    for agent in node["agents"]:
        role = f" ({agent['role']})" if agent["role"] else ""
        yield item("Agent", f"{agent['name']}{role} [{names(agent['capabilities'])}] {agent['id']}")
