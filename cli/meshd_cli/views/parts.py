"""The pieces views are made of. Text is never read as markup, so an id with brackets stays as it is."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

STYLES = {
    "active": "green",
    "alive": "green",
    "ok": "green",
    "completed": "green",
    "enabled": "green",
    "busy": "yellow",
    "initializing": "yellow",
    "degraded": "yellow",
    "suspect": "yellow",
    "edge fault": "yellow",
    "partitioned": "magenta",
    "stalled": "magenta",
    "partitioned from hub": "magenta",
    "whole": "green",
    "left": "yellow",
    "stale": "yellow",
    "warn": "yellow",
    "running": "cyan",
    "claimed": "cyan",
    "shutting_down": "yellow",
    "dead": "red",
    "offline": "red",
    "fail": "red",
    "disabled": "red",
    "cancelled": "magenta",
    "expired": "magenta",
    "conflict": "red",
    "equal": "green",
    "differs": "red",
    "no answer": "red",
    "failed": "red",
    "partial success": "yellow",
    "shown": "green",
    "beside": "yellow",
}


def word(value: object, *, upper: bool = False) -> Text:
    """Return a state word in its colour."""
    text = str(value)
    return Text(text.upper() if upper else text, style=STYLES.get(text, ""))


def heading(text: str) -> Text:
    return Text(text, style="bold")


def item(label: str, value: object, *, indent: int = 2) -> Text:
    """Return a `label: value` line."""
    line = Text(f"{' ' * indent}{label}: ")
    return line.append_text(value) if isinstance(value, Text) else line.append(str(value))


def plain(text: str) -> Text:
    return Text(text)


def quiet(text: str) -> Text:
    return Text(text, style="dim")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table without lines; a column named `>x` is aligned to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        drawn.add_row(*[cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row])
    return drawn


def load(node: Any) -> str:
    """Return a node's load as the share and the tasks it stands for."""
    return f"{node['load']:.1%} ({node['open_tasks']}/{node['capacity']})"


def age(seconds: float) -> str:
    """Return a duration in the unit a person would use."""
    for limit, divisor, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def names(values: Sequence[str]) -> str:
    return ", ".join(values) or "-"
