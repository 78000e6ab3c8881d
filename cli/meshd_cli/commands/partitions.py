"""`mesh partitions`: which nodes reach each other, from the store, or from this machine's nodes while it is away."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from meshd_cli import render
from meshd_cli.session import Session, session_of
from meshd_cli.watching import Watch, lazy_view, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh


def register(app: typer.Typer) -> None:
    app.command("partitions")(partitions)


def partitions(ctx: typer.Context, watch: Watch = False) -> None:
    """Show which nodes reach each other, who holds the store, and since when.

    With the store away, what this machine's nodes see by themselves is shown, marked as stale.

    \b
    Examples:
      mesh partitions --watch
      mesh partitions --json | jq '.partitions[] | select(.holds_hub).nodes'
    """
    from meshd.errors import UnavailableError

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.node_documents import connectivity_document

        return connectivity_document(await mesh.nodes.connectivity(), await mesh.nodes.splits())

    try:
        show(ctx, read, "partitions.partitions", watch=watch)
    except UnavailableError as exc:
        _show_own(session_of(ctx), exc)


def _show_own(session: Session, error: Exception) -> None:
    """Show what this machine's nodes see; raise the error where there are none."""
    from meshd.runtime.own_view import read_all
    from meshd.runtime.state_dir import StateDir
    from meshd_cli.node_documents import own_view_document

    views = read_all(StateDir(Path(session.settings.state_dir)), session.settings.mesh)
    if not views:
        raise error
    render.note(f"{error}; this is what the nodes here see by themselves")
    render.show(session, own_view_document(views), lazy_view(session, "partitions.partitions"))
