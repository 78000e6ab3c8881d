"""`mesh explain` and `mesh why-not`: why a task is where it is, or a group as it is, and not otherwise."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.completion import node_ids, task_ids
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.errors import NotFoundError
    from meshd.mesh import Mesh

TaskId = Annotated[str, typer.Argument(metavar="ID", help="Id of a task or an announcement.", autocompletion=task_ids)]
NodeId = Annotated[
    str, typer.Argument(metavar="NODE", help="Node id; of an announcement, agent id.", autocompletion=node_ids)
]


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)
    app.command("why-not")(why_not)


def explain(ctx: typer.Context, task: TaskId, watch: Watch = False) -> None:
    """Explain where a task is: what was decided, what each node lacks for it now, what would let it start.

    Of an announcement: the score of each member and invited agent, what keeps each other one out, what would let a
    group form.

    \b
    Examples:
      mesh explain 01JD0000000000000000000000
      mesh explain report-7
      mesh explain 01JD0000000000000000000000 --json | jq '.nodes[] | {node, obstacles}'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.errors import NotFoundError
        from meshd_cli.explanations import explanation_document

        try:
            found = await mesh.tasks.explain(task)
        except NotFoundError as missing:
            return await _of_group(mesh, task, missing)
        return {"kind": "explanation", **explanation_document(found)}

    show(ctx, read, "explain.explanation", watch=watch)


def why_not(ctx: typer.Context, task: TaskId, node: NodeId) -> None:
    """Say why a node does not have a task, or why an agent is not in a group.

    \b
    Examples:
      mesh why-not 01JD0000000000000000000000 reader-1
      mesh why-not report-7 ana-1
      mesh why-not 01JD0000000000000000000000 reader-1 --json | jq -r .reasons[]
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.errors import NotFoundError
        from meshd_cli.explanations import why_not_document

        try:
            found = await mesh.tasks.why_not(task, node)
        except NotFoundError as missing:
            return await _of_agent(mesh, task, node, missing)
        return {"kind": "why_not", **why_not_document(found)}

    show(ctx, read, "explain.why_not")


async def _of_group(mesh: "Mesh", id: str, missing: "NotFoundError") -> dict[str, Any]:
    """Return why a group is as it is; what is no announcement either is `missing`."""
    from meshd.errors import NotFoundError
    from meshd_cli.group_documents import group_explanation_document

    try:
        found = await mesh.groups.explain(id)
    except NotFoundError:
        raise missing from None
    return {"kind": "group_explanation", **group_explanation_document(found)}


async def _of_agent(mesh: "Mesh", id: str, agent: str, missing: "NotFoundError") -> dict[str, Any]:
    """Return why an agent is not in a group; what is no announcement is `missing`."""
    from meshd.errors import NotFoundError
    from meshd_cli.group_documents import agent_why_not_document

    try:
        await mesh.groups.get(id)
    except NotFoundError:
        raise missing from None
    found = await mesh.groups.explain(id, agent=agent)
    return {"kind": "group_why_not", **agent_why_not_document(found, agent)}
