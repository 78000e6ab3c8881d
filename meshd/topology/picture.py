"""The graph as a picture: agents on a circle, edges as wide as they are strong, each with its weight. Pure.

Both directions of a pair are drawn beside each other, each nearer to the agent it ends at. Names are escaped, so an
agent cannot write anything else into the file.
"""

from collections.abc import Iterator
from math import cos, hypot, pi, sin
from xml.sax.saxutils import escape

from meshd.topology.model import Edge, Graph

NAMESPACE = "http://www.w3.org/2000/svg"
MOST_LABELS = 200
"""Edges up to which each is drawn with its weight in figures."""
WIDEST, THINNEST = 7.0, 0.6
MARGIN = 130
PALETTE = ("#2563eb", "#059669", "#d97706", "#7c3aed", "#dc2626", "#0891b2", "#65a30d", "#be185d")
"""One colour per node, in the order of their names, again from the start when there are more."""


def svg(graph: Graph, *, title: str = "") -> str:
    """Return the graph as an SVG document."""
    places, size = _places(graph)
    shown = title or f"{len(graph.agents)} agents, {len(graph.edges)} edges"
    lines = [
        f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {size} {size}" width="{size}" height="{size}">',
        '<g font-family="sans-serif">',
        f"<title>{escape(shown)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="16" y="28" font-size="16" fill="#111827">{escape(shown)}</text>',
        *_edges(graph, places),
        *_agents(graph, places, size),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _places(graph: Graph) -> tuple[dict[str, tuple[float, float]], int]:
    """Return where each agent stands, those of one node side by side, and how large the picture is."""
    order = sorted(graph.agents, key=lambda agent: (graph.homes.get(agent, ""), agent))
    radius = max(160.0, len(order) * 34 / (2 * pi))
    middle = radius + MARGIN
    turns = {agent: 2 * pi * number / max(1, len(order)) - pi / 2 for number, agent in enumerate(order)}
    places = {agent: (middle + radius * cos(turn), middle + radius * sin(turn)) for agent, turn in turns.items()}
    return places, round(2 * middle)


def _edges(graph: Graph, places: dict[str, tuple[float, float]]) -> Iterator[str]:
    is_labelled = len(graph.edges) <= MOST_LABELS
    for edge in sorted(graph.edges, key=lambda edge: (edge.weight, edge.source, edge.target)):
        (x1, y1), (x2, y2) = _beside(edge, places)
        width = THINNEST + (WIDEST - THINNEST) * min(1.0, edge.weight)
        yield (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#475569" '
            f'stroke-width="{width:.2f}" stroke-opacity="{0.25 + 0.6 * min(1.0, edge.weight):.2f}" '
            f'stroke-linecap="round"><title>{escape(_said(edge))}</title></line>'
        )
        if is_labelled:
            x, y = x1 + 0.7 * (x2 - x1), y1 + 0.7 * (y2 - y1)
            yield from _text(f"{edge.weight:.2f}", x, y + 3, size=10)


def _agents(graph: Graph, places: dict[str, tuple[float, float]], size: int) -> Iterator[str]:
    nodes = sorted(set(graph.homes.values()))
    middle = size / 2
    for agent, (x, y) in sorted(places.items()):
        node = graph.homes.get(agent, "")
        color = PALETTE[nodes.index(node) % len(PALETTE)] if node in nodes else PALETTE[0]
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" fill="{color}">'
            f"<title>{escape(f'{agent} on {node}')}</title></circle>"
        )
        away = hypot(x - middle, y - middle) or 1.0
        yield from _text(agent, x + 30 * (x - middle) / away, y + 26 * (y - middle) / away + 4, size=12)


def _text(text: str, x: float, y: float, *, size: int) -> Iterator[str]:
    """Yield a text twice: broad and white, so that lines under it do not disturb, then as it is."""
    at = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle"'
    yield f'<text {at} fill="#ffffff" stroke="#ffffff" stroke-width="4">{escape(text)}</text>'
    yield f'<text {at} fill="#111827">{escape(text)}</text>'


def _beside(edge: Edge, places: dict[str, tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of an edge, moved a little to its right, so that the way back lies beside it."""
    (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
    far = hypot(x2 - x1, y2 - y1) or 1.0
    aside = ((y1 - y2) / far * 5, (x2 - x1) / far * 5)
    return (x1 + aside[0], y1 + aside[1]), (x2 + aside[0], y2 + aside[1])


def _said(edge: Edge) -> str:
    return f"{edge.source} to {edge.target}: {edge.weight:.3f}, used {edge.usage} times"
