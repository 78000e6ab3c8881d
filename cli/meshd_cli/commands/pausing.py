"""`mesh pause` and `mesh resume`: hold tasks back, all of them, those of one type, or those of one node."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.completion import node_ids, task_types
from meshd_cli.watching import show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

Type = Annotated[str, typer.Option(help="Only this task type.", autocompletion=task_types)]
Node = Annotated[str, typer.Option(help="Only what this node claims.", autocompletion=node_ids)]


def register(app: typer.Typer) -> None:
    app.command("pause")(pause)
    app.command("resume")(resume)


def pause(ctx: typer.Context, type: Type = "", node: Node = "") -> None:
    """Hand out no more tasks: none at all, none of one type, or none to one node. Running ones go on.

    \b
    Examples:
      mesh pause
      mesh pause --type text.analyze
    """
    _change(ctx, type=type, node=node, paused=True)


def resume(ctx: typer.Context, type: Type = "", node: Node = "") -> None:
    """Undo a pause made with the same options.

    \b
    Examples:
      mesh resume
      mesh resume --type text.analyze
    """
    _change(ctx, type=type, node=node, paused=False)


def _change(ctx: typer.Context, *, type: str, node: str, paused: bool) -> None:
    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.errors import InvalidArgumentError

        if type and node:
            raise InvalidArgumentError("--type and --node are both given; keep one")
        if node:
            await (mesh.nodes.drain(node) if paused else mesh.nodes.resume(node))
        elif paused:
            await mesh.tasks.pause(type or None)
        else:
            await mesh.tasks.resume(type or None)
        pauses = await mesh.tasks.paused()
        return {
            "kind": "pauses",
            "mesh": pauses.mesh,
            "task_types": sorted(pauses.task_types),
            "nodes": [found.id for found in await mesh.nodes.list() if found.drain_requested],
        }

    show(ctx, read, "tasks.pauses")
