"""How `mesh sync` looks."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import age, heading, item, names, plain, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def sync(document: "Document") -> "Iterator[RenderableType]":
    """Yield who confirmed and what moved."""
    nodes, tasks, memory = document["nodes"], document["tasks"], document["memory"]
    confirmed = sum(node["confirmed"] for node in nodes)
    state = word(document["state"].replace("_", " "))
    yield heading(f"Mesh refreshed: {confirmed} of {len(nodes)} nodes confirmed, ").append_text(state)
    for node in nodes:
        yield plain("  ").append_text(word("ok" if node["confirmed"] else "fail")).append(f" {node['id']}{_said(node)}")
    yield item("Judged dead", names(document["judged_dead"]))
    yield item("Tasks", ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in tasks.items()))
    yield item("Memory", f"{memory['items']} items in the store, {memory['replicas']} replicas{_behind(memory)}")
    rows = [(f"  {node['id']}", *_moved(node["memory"])) for node in nodes if node["memory"]]
    if rows:
        yield table(("  REPLICA", "MEMORY", ">SENT", ">RECEIVED", ">CONFLICTS", ">BYTES", ">TOOK", ">WAITING"), rows)


def _said(node: "Mapping[str, Any]") -> str:
    if node["heartbeat_age_seconds"] is None:
        return " sent no heartbeat since"
    beat = f", heartbeat {age(node['heartbeat_age_seconds'])} ago"
    memory = node["memory"]
    if memory is None or (memory["confirmed"] and memory["is_equal"]):
        return beat
    if not memory["confirmed"]:
        return f"{beat}, its memory did not answer"
    where = f" in {names(memory['differing'])}" if memory["differing"] else ""
    return f"{beat}, its memory differs{where}"


def _behind(memory: "Mapping[str, Any]") -> str:
    return (
        f", not in step: {names(memory['missing'])}" if memory["missing"] else " in step" if memory["replicas"] else ""
    )


def _moved(memory: "Mapping[str, Any]") -> tuple[Any, ...]:
    state = "equal" if memory["is_equal"] else "differs" if memory["confirmed"] else "no answer"
    waiting = memory["pending"] + memory["refused"]
    moved = (memory["sent"], memory["received"], memory["conflicts"], memory["bytes"])
    return (word(state), *moved, age(memory["duration_ms"] / 1000), waiting)
