"""`mesh topology`: who talks to whom."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import agent_ids
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, lazy_view, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

AgentId = Annotated[str, typer.Argument(metavar="AGENT", help="Agent id.", autocompletion=agent_ids)]

TOPOLOGY_HELP = """Who talks to whom: every edge with its weight, and the numbers of the whole graph.

\b
Examples:
  mesh topology
  mesh topology --tree
  mesh topology --svg mesh.svg
  mesh topology --json > before.json
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, help=TOPOLOGY_HELP)
    group.callback()(topology)
    group.command("path")(path)
    group.command("suggest")(suggest)
    group.command("restore")(restore)
    app.add_typer(group, name="topology")


def topology(
    ctx: typer.Context,
    tree: Annotated[bool, typer.Option("--tree", help="By node and agent instead of a table.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Draw a picture into this file.", metavar="FILE")] = None,
    png: Annotated[Path | None, typer.Option(help="The same as PNG: needs cairosvg.", metavar="FILE")] = None,
    watch: Watch = False,
) -> None:
    """Show who talks to whom."""
    if ctx.invoked_subcommand is not None:
        return
    if png is not None:
        from meshd_cli.pictures import check_png

        check_png()

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return await _document(mesh)

    document = show(ctx, read, "topology.tree" if tree else "topology.listing", watch=watch)
    if svg is not None or png is not None:
        from meshd_cli.pictures import draw

        draw(document, svg=svg, png=png)


def path(ctx: typer.Context, start: AgentId, end: AgentId) -> None:
    """Show the strongest way from one agent to another: the least sum of round trip over weight.

    \b
    Examples:
      mesh topology path sales fraud
      mesh topology path sales fraud --json | jq -r .agents[]
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.topology_documents import path_document

        return path_document(start, end, await mesh.topology.path(start, end))

    show(ctx, read, "topology.path")


def suggest(
    ctx: typer.Context,
    agents: Annotated[int, typer.Option(help="How many agents there will be.", min=1)],
    communication: Annotated[str, typer.Option(help="Who talks to whom: anyone, central, chain, levels.")] = "anyone",
    tolerance: Annotated[str, typer.Option(help="How many may be lost: none, one, many.")] = "one",
    max_links: Annotated[int | None, typer.Option(help="Most links altogether.", min=0)] = None,
    max_degree: Annotated[int | None, typer.Option(help="Most links of one agent.", min=0)] = None,
    max_hops: Annotated[int | None, typer.Option(help="Most links between any two agents.", min=0)] = None,
) -> None:
    """Suggest a shape for a mesh, with the reasons for it and against the others. Asks no store.

    \b
    Examples:
      mesh topology suggest --agents 12
      mesh topology suggest --agents 200 --communication levels --max-degree 10
    """
    from meshd.topology.selection import Need, communication_named, tolerance_named
    from meshd.topology.selection import suggest as suggested
    from meshd_cli.topology_documents import suggestion_document

    need = Need(
        agents=agents,
        communication=communication_named(communication),
        tolerance=tolerance_named(tolerance),
        max_links=max_links,
        max_degree=max_degree,
        max_hops=max_hops,
    )
    session = session_of(ctx)
    render.show(session, suggestion_document(agents, suggested(need)), lazy_view(session, "topology.suggestion"))


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `mesh topology --json` printed.")],
) -> None:
    """Have the topology be what it was when FILE was written.

    \b
    Examples:
      mesh topology --json > before.json
      mesh topology restore before.json
    """
    from meshd_cli.pictures import snapshot_in

    snapshot = snapshot_in(file)

    async def read(mesh: "Mesh") -> dict[str, Any]:
        await mesh.topology.restore(snapshot)
        return await _document(mesh)

    show(ctx, read, "topology.listing")


async def _document(mesh: "Mesh") -> dict[str, Any]:
    from meshd_cli.topology_documents import topology_document

    graph = await mesh.topology.graph()
    return topology_document(graph, await mesh.topology.statistics(graph))
