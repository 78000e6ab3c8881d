"""`mesh tasks dead`: tasks that were given up, one by one or all at once."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.commands.tasks import TaskId, show_task
from meshd_cli.completion import task_types
from meshd_cli.durations import duration
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.tasks.dead import BulkReport, DeadFilter

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Task ids; none: all that match.")]
Type = Annotated[str, typer.Option(help="Only this task type.", autocompletion=task_types)]
Reason = Annotated[str, typer.Option(help="Only these: error, timeout, crashed, rejected.")]
Text = Annotated[str, typer.Option(help="Only with this text in the message of an error.")]
OlderThan = Annotated[
    timedelta | None, typer.Option(parser=duration, help="Only dead for at least this long.", metavar="DURATION")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Most tasks to act on.")]

DEAD_HELP = """Look at dead letters, run them again, or forget them.

\b
Examples:
  mesh tasks dead list --reason crashed
  mesh tasks dead redrive --type text.analyze --text "connection refused"
"""


def register(tasks: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=DEAD_HELP)
    group.command("list")(list_dead)
    group.command("show")(show_dead)
    group.command("redrive")(redrive_dead)
    group.command("purge")(purge_dead)
    tasks.add_typer(group, name="dead")


def list_dead(
    ctx: typer.Context,
    type: Type = "",
    reason: Reason = "",
    text: Text = "",
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most tasks to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue a listing.")] = None,
    watch: Watch = False,
) -> None:
    """List dead letters, newest first, with what each died of.

    \b
    Examples:
      mesh tasks dead list --older-than 1d
      mesh tasks dead list --json | jq -r '.tasks[].error'
    """
    where = _filter(type=type, reason=reason, text=text, older_than=older_than)

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.documents import task_summary

        page = await mesh.tasks.dead.list(where, limit=limit, cursor=cursor)
        rows = [{**task_summary(task), "error": task.errors[-1].message if task.errors else ""} for task in page.tasks]
        return {"kind": "dead", "tasks": rows, "cursor": page.cursor}

    show(ctx, read, "tasks.dead", watch=watch)


def show_dead(ctx: typer.Context, id: TaskId) -> None:
    """Show one dead letter: its payload and every error.

    \b
    Examples:
      mesh tasks dead show 01JD0000000000000000000000
      mesh tasks dead show 01JD0000000000000000000000 --json | jq .task.errors
    """
    show_task(ctx, id)


def redrive_dead(
    ctx: typer.Context,
    ids: Ids = None,
    type: Type = "",
    reason: Reason = "",
    text: Text = "",
    older_than: OlderThan = None,
    limit: Limit = None,
) -> None:
    """Run dead letters again, with their errors kept: those named, or all that match.

    \b
    Examples:
      mesh tasks dead redrive 01JD0000000000000000000000
      mesh tasks dead redrive --reason timeout --limit 100
    """
    where = _filter(ids=ids, type=type, reason=reason, text=text, older_than=older_than)

    async def work(mesh: "Mesh") -> "BulkReport":
        return await mesh.tasks.dead.redrive(where, limit=limit)

    _report(ctx, "redriven", session_of(ctx).run(work))


def purge_dead(
    ctx: typer.Context,
    ids: Ids = None,
    type: Type = "",
    reason: Reason = "",
    text: Text = "",
    older_than: OlderThan = None,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget dead letters for good: those named, or all that match. Asks first, unless told --yes.

    \b
    Examples:
      mesh tasks dead purge 01JD0000000000000000000000 --yes
      mesh tasks dead purge --older-than 3d --yes
    """
    where = _filter(ids=ids, type=type, reason=reason, text=text, older_than=older_than)
    if not yes:
        typer.confirm("Forget these dead letters for good?", abort=True, err=True)

    async def work(mesh: "Mesh") -> "BulkReport":
        return await mesh.tasks.dead.purge(where, limit=limit)

    _report(ctx, "purged", session_of(ctx).run(work))


def _filter(
    *, type: str, reason: str, text: str, older_than: timedelta | None, ids: list[str] | None = None
) -> "DeadFilter":
    from meshd.errors import InvalidArgumentError
    from meshd.tasks.dead import DeadFilter
    from meshd.tasks.model import FailureKind

    try:
        kind = FailureKind(reason) if reason else None
    except ValueError:
        raise InvalidArgumentError(f"reason {reason!r} is not one of {', '.join(FailureKind)}") from None
    return DeadFilter(ids=frozenset(ids or ()), type=type, reason=kind, text=text, older_than=older_than)


def _report(ctx: typer.Context, verb: str, report: "BulkReport") -> None:
    session = session_of(ctx)
    document = {"kind": verb, "done": list(report.done), "skipped": list(report.skipped)}
    if session.json:
        render.show(session, document, lambda _: ())
        return
    for task_id in report.done:
        render.line(task_id)
    skipped = f"; {len(report.skipped)} were dead no more" if report.skipped else ""
    render.note(f"{len(report.done)} {verb}{skipped}")
