"""How `mesh status` looks."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import age, heading, item, load, plain, quiet, word

if TYPE_CHECKING:
    from rich.console import RenderableType

COMMANDS = "mesh enable · mesh disable · mesh agents · mesh submit TYPE · mesh tasks list · mesh sync · mesh doctor"


def status(document: Mapping[str, Any]) -> "Iterator[RenderableType]":
    """Yield every section of the status."""
    yield heading("Agent Mesh Status: ").append_text(word("enabled" if document["enabled"] else "disabled", upper=True))
    yield plain("=" * 50)
    yield from _local(document)
    if document["totals"] is not None:
        yield from _totals(document)
        yield from _nodes(document["nodes"])
        yield from _memory(document["memory"]["replicas"])
        yield from _backends(document["backends"])
        yield from _recent(document["recent_tasks"])
    yield plain("")
    yield item("Commands", COMMANDS, indent=0)
    if document["hint"]:
        yield quiet(f"Next: {document['hint']}")


def _local(document: Mapping[str, Any]) -> "Iterator[RenderableType]":
    node = document["local_node"]
    yield heading("Local Node:")
    if node is None:
        state = document["mesh_state"] if document["totals"] is None else None
        what = f"{state['state']}: {state['detail']}" if state else "none: this machine has no node in the mesh"
        yield plain(f"  {what}")
        return
    yield item("Node ID", node["id"])
    yield item("Type", node["type"])
    yield item("Status", word(node["status"], upper=True))
    yield item("Protocol", node["protocol"])
    yield item("Load", load(node))


def _totals(document: Mapping[str, Any]) -> "Iterator[RenderableType]":
    totals = document["totals"]
    yield plain("")
    yield heading("Mesh Statistics:")
    yield item("Mesh", document["mesh"])
    state = document["mesh_state"]
    yield item("Mesh State", word(state["state"], upper=True).append(f": {state['detail']}" if state["detail"] else ""))
    yield item("Total Nodes", totals["nodes"])
    yield item("Active Nodes", totals["active_nodes"])
    lost = f", {totals['lost_capacity']} lost with nodes that are not alive" if totals["lost_capacity"] else ""
    yield item("Capacity", f"{totals['capacity']} tasks at once{lost}")
    yield item("Pending Tasks", totals["pending"])
    yield item("Running Tasks", totals["running"])
    yield item("Completed Tasks", totals["completed"])
    for state in ("dead", "cancelled", "expired"):
        if document["tasks"][state]:
            yield item(f"{state.capitalize()} Tasks", document["tasks"][state])
    yield item("Memory Sync Items", totals["memory_sync_items"])


def _nodes(nodes: list[Mapping[str, Any]]) -> "Iterator[RenderableType]":
    yield plain("")
    yield heading(f"Known Nodes ({len(nodes)}):")
    if not nodes:
        yield plain("  none")
    for node in nodes:
        line = plain("  ").append_text(word(node["status"])).append(f" {node['id']} ({node['type']})")
        silent = f" - {node['verdict']}" if node["verdict"] in ("suspect", "partitioned") else ""
        yield line.append(f" - Load: {load(node)}{silent}")


def _memory(replicas: list[Mapping[str, Any]]) -> "Iterator[RenderableType]":
    if not replicas:
        return
    yield plain("")
    yield heading(f"Memory Replicas ({len(replicas)}):")
    for replica in replicas:
        behind = replica["behind"]
        line = item(replica["node"], word("ok") if not behind else plain(f"{behind} changes behind"))
        counts = ", ".join(f"{replica[what]} {what}" for what in ("pending", "applied", "conflicts", "rejected"))
        share = replica["success_percent"]
        speed = f"{replica['items_per_second']:g} items/s{'' if share is None else f', {share:g} % succeeded'}"
        yield line.append(f" · {counts} · {speed} · reported {age(replica['reported_age_seconds'])} ago")


def _backends(backends: list[Mapping[str, Any]]) -> "Iterator[RenderableType]":
    yield plain("")
    yield heading("Backends:")
    for backend in backends:
        line = item(backend["kind"], word("ok"))
        yield line.append(f" · {backend['latency_ms']:.2f} ms · durability {backend['durability']} · {backend['url']}")


def _recent(tasks: list[Mapping[str, Any]]) -> "Iterator[RenderableType]":
    yield plain("")
    yield heading("Recent Tasks:")
    if not tasks:
        yield plain("  none yet")
    for task in tasks:
        line = plain(f"  {task['id']} ").append_text(word(task["state"]))
        yield line.append(f" {task['type']} ({task['priority']})" + (f" on {task['node']}" if task["node"] else ""))
