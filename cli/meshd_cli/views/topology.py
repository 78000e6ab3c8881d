"""How the topology looks."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text
from rich.tree import Tree

from meshd_cli.views.parts import heading, item, plain, quiet, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document

BAR = 20
NOBODY = "no agent is in the topology yet; it is kept by the node that leads it, from its first round on"


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per edge, the strongest first, then the numbers."""
    if not document["agents"]:
        yield quiet(NOBODY)
        return
    edges = sorted(document["edges"], key=lambda edge: (-edge["weight"], edge["source"], edge["target"]))
    rows = [(e["source"], e["target"], f"{e['weight']:.3f}", bar(e["weight"]), e["usage"]) for e in edges]
    yield table(("FROM", "TO", ">WEIGHT", "", ">USED"), rows)
    yield plain("")
    yield from _numbers(document)


def tree(document: "Document") -> "Iterator[RenderableType]":
    """Yield every node with its agents, and below each the edges that begin there."""
    if not document["agents"]:
        yield quiet(NOBODY)
        return
    root = Tree(heading(f"{document['statistics']['agents']} agents"), guide_style="dim")
    for node in sorted(set(document["agents"].values())):
        branch = root.add(heading(node))
        for agent in sorted(agent for agent, home in document["agents"].items() if home == node):
            own = branch.add(Text(agent))
            for edge in _out_of(document, agent):
                own.add(plain(f"{edge['weight']:.3f} {bar(edge['weight'])} {edge['target']} (used {edge['usage']})"))
    yield root
    yield from _numbers(document)


def path(document: "Document") -> "Iterator[RenderableType]":
    """Yield a way from one agent to another."""
    if document["is_cut"]:
        yield plain(f"no way leads from {document['from']} to {document['to']}")
        return
    steps = [document["agents"][0]]
    for weight, agent in zip(document["weights"], document["agents"][1:], strict=True):
        steps += [f"-{weight:.3f}->", agent]
    yield plain(" ".join(steps))
    yield item("Weakest edge", f"{document['weakest']:.3f}")
    yield item("Cost", f"{document['cost']:.3f}")


def suggestion(document: "Document") -> "Iterator[RenderableType]":
    """Yield a shape with the reasons for it, and against the others."""
    yield heading(f"{document['shape']}: {document['links']:,} links among {document['agents']:,} agents")
    for reason in document["reasons"]:
        yield plain(f"  {reason}")
    yield plain("")
    yield table(("NOT", "BECAUSE"), list(document["rejected"].items()))


def bar(weight: float) -> str:
    """Return a weight as a bar."""
    return "█" * round(BAR * min(1.0, weight)) or "·"


def _out_of(document: "Document", agent: str) -> list[Mapping[str, Any]]:
    found = [edge for edge in document["edges"] if edge["source"] == agent]
    return sorted(found, key=lambda edge: (-edge["weight"], edge["target"]))


def _numbers(document: "Document") -> "Iterator[RenderableType]":
    own = document["statistics"]
    yield plain(
        f"{own['agents']} agents, {own['edges']} edges, {own['active_edges']} active; "
        f"weights {own['min_weight']:.3f} to {own['max_weight']:.3f}, average {own['average_weight']:.3f}"
    )
    yield plain(
        f"density {own['density']:.3f}, reduction {own['reduction_percent']:.1f}%; "
        f"new agents are linked as a {document['shape']}"
    )
