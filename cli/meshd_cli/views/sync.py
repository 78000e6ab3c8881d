"""How `mesh sync` looks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshd_cli.views.parts import age, heading, item, names, plain, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def sync(document: "Document") -> "Iterator[RenderableType]":
    """Yield who confirmed and what moved."""
    nodes, tasks = document["nodes"], document["tasks"]
    yield heading(f"Mesh refreshed: {sum(node['confirmed'] for node in nodes)} of {len(nodes)} nodes confirmed")
    for node in nodes:
        if node["confirmed"]:
            yield (
                plain("  ")
                .append_text(word("ok"))
                .append(f" {node['id']}, heartbeat {age(node['heartbeat_age_seconds'])} ago")
            )
        else:
            yield plain("  ").append_text(word("fail")).append(f" {node['id']} sent no heartbeat since")
    yield item("Judged dead", names(document["judged_dead"]))
    yield item("Tasks", ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in tasks.items()))
    yield item("Memory", "synchronisation is not available yet")
