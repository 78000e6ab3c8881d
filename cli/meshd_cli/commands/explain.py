"""`mesh explain` and `mesh why-not`: why a task is where it is, and not elsewhere."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.completion import node_ids, task_ids
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

TaskId = Annotated[str, typer.Argument(metavar="TASK", help="Task id.", autocompletion=task_ids)]
NodeId = Annotated[str, typer.Argument(metavar="NODE", help="Node id.", autocompletion=node_ids)]


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)
    app.command("why-not")(why_not)


def explain(ctx: typer.Context, task: TaskId, watch: Watch = False) -> None:
    """Explain where a task is: what was decided, what each node lacks for it now, what would let it start.

    \b
    Examples:
      mesh explain 01JD0000000000000000000000
      mesh explain 01JD0000000000000000000000 --json | jq '.nodes[] | {node, obstacles}'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.explanations import explanation_document

        return {"kind": "explanation", **explanation_document(await mesh.tasks.explain(task))}

    show(ctx, read, "explain.explanation", watch=watch)


def why_not(ctx: typer.Context, task: TaskId, node: NodeId) -> None:
    """Say why a node does not have a task.

    \b
    Examples:
      mesh why-not 01JD0000000000000000000000 reader-1
      mesh why-not 01JD0000000000000000000000 reader-1 --json | jq -r .reasons[]
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.explanations import why_not_document

        return {"kind": "why_not", **why_not_document(await mesh.tasks.why_not(task, node))}

    show(ctx, read, "explain.why_not")
