"""`mesh nodes`: look at nodes and steer them."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.commands.status import listed
from meshd_cli.completion import node_ids, node_types
from meshd_cli.durations import duration
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

NodeId = Annotated[str, typer.Argument(metavar="ID", help="Node id.", autocompletion=node_ids)]

NODES_HELP = """Look at nodes and steer them.

\b
Examples:
  mesh nodes list --watch
  mesh nodes history reader-1
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=NODES_HELP)
    group.command("list")(list_nodes)
    group.command("show")(show_node)
    group.command("drain")(drain)
    group.command("resume")(resume)
    group.command("history")(history)
    app.add_typer(group, name="nodes")


def list_nodes(
    ctx: typer.Context,
    capability: Annotated[str, typer.Option(help="Only nodes that hold all of these: a,b.")] = "",
    type: Annotated[str, typer.Option(help="Only nodes of this type.", autocompletion=node_types)] = "",
    all: Annotated[bool, typer.Option("--all", help="Dead nodes too, while they are remembered.")] = False,
    watch: Watch = False,
) -> None:
    """List the nodes of the mesh, with what it concludes about each.

    \b
    Examples:
      mesh nodes list --watch
      mesh nodes list --all --json | jq -r '.nodes[] | select(.verdict == "dead").id'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.nodes.model import Verdict
        from meshd_cli.documents import node_summary
        from meshd_cli.node_documents import judged

        types = [type] if type else []
        wanted = await mesh.nodes.list(capabilities=listed(capability), types=types, include_dead=True)
        everybody = await mesh.nodes.list(include_dead=True) if types or capability else wanted
        found = [node for node in wanted if all or node.verdict is not Verdict.DEAD]
        return {"kind": "nodes", "nodes": [judged(node_summary(node), node, everybody) for node in found]}

    show(ctx, read, "nodes.listing", watch=watch)


def show_node(ctx: typer.Context, id: NodeId, watch: Watch = False) -> None:
    """Show everything about one node, and why the mesh takes it for what it does.

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


def history(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="[ID]", help="Node id; none: all.", autocompletion=node_ids)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most events to show.")] = 20,
    window: Annotated[
        timedelta | None,
        typer.Option(parser=duration, help="Time the uptime is taken over; 24h unless given.", metavar="DURATION"),
    ] = None,
    watch: Watch = False,
) -> None:
    """Show what became of nodes, those that left apart from those that failed, and how much of the time each was there.

    Both reach back as far as the event log does.

    \b
    Examples:
      mesh nodes history reader-1
      mesh nodes history --window 7d --json | jq '.uptimes[] | {node, share}'
    """
    span = window or timedelta(hours=24)

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.node_documents import event_document, uptime_document

        events = await mesh.nodes.history(id, limit=limit)
        uptimes = await mesh.nodes.uptimes(window=span)
        known = {node.id: node for node in await mesh.nodes.list(include_dead=True)}
        agents = {name: [agent.id for agent in node.profile.agents] for name, node in known.items()}
        return {
            "kind": "node_history",
            "window_seconds": span.total_seconds(),
            "events": [event_document(event) for event in events],
            "uptimes": [
                uptime_document(name, uptime, agents.get(name, ()))
                for name, uptime in uptimes.items()
                if id in ("", name)
            ],
        }

    show(ctx, read, "nodes.history", watch=watch)


async def _document(mesh: "Mesh", node_id: str) -> dict[str, Any]:
    from meshd_cli.documents import node_document
    from meshd_cli.node_documents import judged

    node = await mesh.nodes.get(node_id)
    everybody = await mesh.nodes.list(include_dead=True)
    return {"kind": "node", "node": judged(node_document(node), node, everybody)}
