"""`mesh tasks`: look at tasks and steer them."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.commands.status import listed
from meshd_cli.completion import node_ids, priorities, task_ids, task_states, task_types
from meshd_cli.durations import duration
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

TaskId = Annotated[str, typer.Argument(metavar="ID", help="Task id.", autocompletion=task_ids)]

TASKS_HELP = """Look at tasks and steer them.

\b
Examples:
  mesh tasks list --state dead
  mesh tasks wait 01JD0000000000000000000000
"""


def register(app: typer.Typer) -> typer.Typer:
    """Put the commands on `app`; return their group."""
    group = typer.Typer(no_args_is_help=True, help=TASKS_HELP)
    group.command("list")(list_tasks)
    group.command("show")(show_task)
    group.command("parts")(parts)
    group.command("wait")(wait)
    group.command("cancel")(cancel)
    group.command("redrive")(redrive)
    group.command("priority")(priority)
    group.command("rate")(rate)
    app.add_typer(group, name="tasks")
    return group


def list_tasks(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help="Only these states: ready,running.", autocompletion=task_states)] = "",
    type: Annotated[str, typer.Option(help="Only this task type.", autocompletion=task_types)] = "",
    node: Annotated[str, typer.Option(help="Only tasks of this node.", autocompletion=node_ids)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most tasks to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue a listing.")] = None,
    watch: Watch = False,
) -> None:
    """List tasks, newest first.

    \b
    Examples:
      mesh tasks list --state ready,running --watch
      mesh tasks list --state dead --json | jq -r '.tasks[].id'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.documents import task_summary

        page = await mesh.tasks.list(states=_states(state), type=type, node_id=node, limit=limit, cursor=cursor)
        return {"kind": "tasks", "tasks": [task_summary(task) for task in page.tasks], "cursor": page.cursor}

    show(ctx, read, "tasks.listing", watch=watch)


def show_task(ctx: typer.Context, id: TaskId, watch: Watch = False) -> None:
    """Show one task: its state and how it came to it, what it waits for, payload, result, every error.

    \b
    Examples:
      mesh tasks show 01JD0000000000000000000000
      mesh tasks show 01JD0000000000000000000000 --json | jq .task.result
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.documents import parent_document

        task = await mesh.tasks.get(id)
        parents = [parent_document(parent) for parent in await mesh.tasks.parents(task)]
        return {**_document(task), "parents": parents}

    show(ctx, read, "tasks.one", watch=watch)


def parts(ctx: typer.Context, id: TaskId, watch: Watch = False) -> None:
    """Show the parts of a task that was divided: who ran each, and what came of it.

    \b
    Examples:
      mesh tasks parts 01JD0000000000000000000000
      mesh tasks parts 01JD0000000000000000000000 --json | jq -r '.parts[].node'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.documents import part_document

        return {"kind": "parts", "id": id, "parts": [part_document(part) for part in await mesh.tasks.parts(id)]}

    show(ctx, read, "tasks.parts", watch=watch)


def wait(
    ctx: typer.Context,
    id: TaskId,
    timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Longest wait.", metavar="DURATION")
    ] = None,
) -> None:
    """Wait for a task to end and print its result.

    \b
    Examples:
      mesh tasks wait 01JD0000000000000000000000
      mesh tasks wait 01JD0000000000000000000000 --timeout 30s --json
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> None:
        result = await mesh.tasks.handle(id).result(timeout=timeout)
        if session.json:
            render.show(session, {"kind": "result", "id": id, "result": result}, lambda _: ())
        else:
            render.line(json.dumps(result, ensure_ascii=False, indent=2))

    session.run(work)


def cancel(ctx: typer.Context, id: TaskId, reason: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """Cancel a task that has not started, or ask a running one to stop.

    \b
    Examples:
      mesh tasks cancel 01JD0000000000000000000000
      mesh tasks cancel 01JD0000000000000000000000 --reason "wrong file"
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return _document(await mesh.tasks.cancel(id, reason=reason))

    show(ctx, read, "tasks.one")


def redrive(ctx: typer.Context, id: TaskId) -> None:
    """Run a dead, cancelled or expired task again, with its errors kept.

    \b
    Examples:
      mesh tasks redrive 01JD0000000000000000000000
      mesh tasks list --state dead --json | jq -r '.tasks[].id' | xargs -n1 mesh tasks redrive
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return _document(await mesh.tasks.redrive(id))

    show(ctx, read, "tasks.one")


def priority(
    ctx: typer.Context,
    id: TaskId,
    level: Annotated[
        str,
        typer.Argument(metavar="PRIORITY", help="critical, high, normal, low, background.", autocompletion=priorities),
    ],
) -> None:
    """Give a task that has not ended another priority. It keeps its age.

    \b
    Examples:
      mesh tasks priority 01JD0000000000000000000000 critical
      mesh tasks list --state ready --json | jq -r '.tasks[].id' | xargs -I{} mesh tasks priority {} low
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return _document(await mesh.tasks.reprioritize(id, level))

    show(ctx, read, "tasks.one")


def rate(
    ctx: typer.Context,
    window: Annotated[
        timedelta | None, typer.Option(parser=duration, help="How far back; 1 hour by default.", metavar="DURATION")
    ] = None,
) -> None:
    """Show how many tasks completed and how many died of late, counted from the event log.

    \b
    Examples:
      mesh tasks rate
      mesh tasks rate --window 10m --json | jq .rate
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        found = await mesh.completion_rate(window or timedelta(hours=1))
        return {
            "kind": "rate",
            "completed": found.completed,
            "failed": found.failed,
            "rate": found.rate,
            "covered_seconds": found.covered_ms / 1000,
        }

    show(ctx, read, "tasks.rate")


def _document(task: Any) -> dict[str, Any]:
    from meshd_cli.documents import task_document

    return {"kind": "task", "task": task_document(task)}


def _states(text: str) -> list[Any]:
    from meshd.errors import InvalidArgumentError
    from meshd.tasks.model import TaskState

    known = {state.value: state for state in TaskState}
    for name in listed(text):
        if name not in known:
            raise InvalidArgumentError(f"{name!r} is not a task state: use {', '.join(known)}")
    return [known[name] for name in listed(text)]
