"""`mesh nodes`: look at nodes and steer them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.commands.status import listed
from meshd_cli.completion import node_ids, node_types
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

NodeId = Annotated[str, typer.Argument(metavar="ID", help="Node id.", autocompletion=node_ids)]

NODES_HELP = """Look at nodes and steer them.

\b
Examples:
  mesh nodes list --watch
  mesh nodes drain reader-1
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=NODES_HELP)
    group.command("list")(list_nodes)
    group.command("show")(show_node)
    group.command("drain")(drain)
    group.command("resume")(resume)
    app.add_typer(group, name="nodes")


def list_nodes(
    ctx: typer.Context,
    capability: Annotated[str, typer.Option(help="Only nodes that hold all of these: a,b.")] = "",
    type: Annotated[str, typer.Option(help="Only nodes of this type.", autocompletion=node_types)] = "",
    all: Annotated[bool, typer.Option("--all", help="Dead nodes too, while they are remembered.")] = False,
    watch: Watch = False,
) -> None:
    """List the nodes of the mesh.

    \b
    Examples:
      mesh nodes list --watch
      mesh nodes list --all --json | jq -r '.nodes[] | select(.verdict == "dead").id'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.documents import node_summary

        types = [type] if type else []
        found = await mesh.nodes.list(capabilities=listed(capability), types=types, include_dead=all)
        return {"kind": "nodes", "nodes": [node_summary(node) for node in found]}

    show(ctx, read, "nodes.listing", watch=watch)


def show_node(ctx: typer.Context, id: NodeId, watch: Watch = False) -> None:
    """Show everything about one node.

    \b
    Examples:
      mesh nodes show reader-1
      mesh nodes show reader-1 --json | jq .node.capabilities
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return await _document(mesh, id)

    show(ctx, read, "nodes.one", watch=watch)


def drain(ctx: typer.Context, id: NodeId) -> None:
    """Ask a node to finish what it holds and claim no more. It learns so at its next heartbeat.

    \b
    Examples:
      mesh nodes drain reader-1
      mesh nodes drain reader-1 && mesh nodes show reader-1 --watch
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        await mesh.nodes.drain(id)
        return await _document(mesh, id)

    show(ctx, read, "nodes.one")


def resume(ctx: typer.Context, id: NodeId) -> None:
    """Let a drained node claim again.

    \b
    Examples:
      mesh nodes resume reader-1
      mesh nodes resume reader-1 && mesh nodes show reader-1 --watch
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        await mesh.nodes.resume(id)
        return await _document(mesh, id)

    show(ctx, read, "nodes.one")


async def _document(mesh: "Mesh", node_id: str) -> dict[str, Any]:
    from meshd_cli.documents import node_document

    return {"kind": "node", "node": node_document(await mesh.nodes.get(node_id))}
