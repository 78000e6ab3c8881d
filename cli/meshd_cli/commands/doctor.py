"""`mesh doctor`: check each thing that has to hold, and name the fix for what does not."""

from typing import Annotated

import typer

from meshd.exit_codes import ExitCode
from meshd_cli import render
from meshd_cli.session import session_of
from meshd_cli.watching import lazy_view


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend the indexes of tasks that the audit finds broken.")
    ] = False,
) -> None:
    """Check settings, store, clock, ports, registration, heartbeats, tasks and speed; exit code 8 if one fails.

    Every kept task is held against the invariants of docs/reliability.md; a repair never changes what a task is.

    \b
    Examples:
      mesh doctor --repair
      mesh doctor --url redis://cache:6379/0 --json | jq '.checks[] | select(.state != "ok")'
    """
    from meshd_cli.checks import examine

    session = session_of(ctx)
    document = examine(session, repair=repair)
    render.show(session, document, lazy_view(session, "doctor.report"))
    if not document["healthy"]:
        raise typer.Exit(ExitCode.DEGRADED)
