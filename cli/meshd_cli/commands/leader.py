"""`mesh leader`: who leads what."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="What is led: role:consensus, or a name of your own.")]

LEADER_HELP = """Who leads what: the mesh's own roles, and whatever programs elect leaders for.

\b
Examples:
  mesh leader list
  mesh leader show role:consensus
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=LEADER_HELP)
    group.command("list")(list_leaders)
    group.command("show")(show_leader)
    app.add_typer(group, name="leader")


def list_leaders(ctx: typer.Context, watch: Watch = False) -> None:
    """List every leader of the mesh.

    \b
    Examples:
      mesh leader list --watch
      mesh leader list --json | jq -r '.leaders[] | select(.scope == "role:topology").holder'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.leader_documents import leader_document

        return {"kind": "leaders", "leaders": [leader_document(term) for term in await mesh.votes.leaders.list()]}

    show(ctx, read, "leaders.listing", watch=watch)


def show_leader(ctx: typer.Context, scope: Scope, watch: Watch = False) -> None:
    """Show who leads a scope, since when, and its fencing token. Exit code 3 if nobody does.

    \b
    Examples:
      mesh leader show role:consensus
      mesh leader show orders --json | jq .leader.token
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.errors import NotFoundError
        from meshd_cli.leader_documents import leader_document

        term = await mesh.votes.leaders.current(scope)
        if term is None:
            raise NotFoundError(f"nobody leads {scope} now; `mesh leader list` shows who leads what")
        return {"kind": "leader", "leader": leader_document(term)}

    show(ctx, read, "leaders.one", watch=watch)
