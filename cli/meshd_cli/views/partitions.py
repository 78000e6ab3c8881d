"""How partitions look."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import heading, item, names, plain, quiet, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def partitions(document: "Document") -> "Iterator[RenderableType]":
    """Yield each side, then what is cut, silent or faulty."""
    state = "whole" if document["whole"] else "partitioned"
    source = "" if document["source"] == "hub" else f", as {document['source']} saw it at {document['at']} (stale)"
    yield heading("Mesh: ").append_text(word(state, upper=True)).append(source)
    for number, side in enumerate(document["partitions"], start=1):
        yield from _side(number, side)
    if document["cut_from_hub"]:
        yield item("Cut from the store", names(document["cut_from_hub"]), indent=0)
    if document["unheard"]:
        yield item("Heard by nobody", f"{names(document['unheard'])}: dead, or on a side of their own", indent=0)
    if document["edge_faults"]:
        pairs = [f"{one} and {other}" for one, other in document["edge_faults"]]
        yield item("Links that fail", names(pairs), indent=0)
    for event in document["recent"]:
        sizes = " + ".join(map(str, event["sizes"]))
        yield quiet(f"{event['at']}: {event['event']}, {sizes} nodes (split since {event['since']})")
    if not document["probing_nodes"]:
        yield quiet("No node probes others (peers.enabled), so only the store's view is known.")


def _side(number: int, side: Mapping[str, Any]) -> "Iterator[RenderableType]":
    holds = "holds the store" if side["holds_hub"] else "without the store"
    since = f", cut since {side['since']}" if side["since"] else ""
    yield plain(f"{number}. {side['size']} nodes, {holds}{since}")
    yield item("Nodes", names(side["nodes"]))
