"""How this machine's processes look."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import age, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def process_table(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per process."""
    rows = [
        (
            process["name"],
            str(process["pid"] or "-"),
            word(process["state"]),
            str(process["restarts"]),
            _since(process),
            word(process["verdict"] or "-"),
            process["started_by"],
        )
        for process in document["processes"]
    ]
    yield table(("NAME", ">PID", "STATE", ">RESTARTS", ">UPTIME", "VERDICT", "STARTED BY"), rows)


def _since(process: dict[str, Any]) -> str:
    """Return how long it has run; for one that does not run, why or what next."""
    if process["uptime_seconds"] is not None:
        return age(process["uptime_seconds"])
    if process["wait_seconds"] is not None:
        return f"in {process['wait_seconds']:g} s"
    return "-" if process["exit_code"] is None else f"exit {process['exit_code']}"
