"""`mesh doctor`: check each thing that has to hold, and name the fix for what does not."""

import typer

from meshd.errors import ExitCode
from meshd_cli import render
from meshd_cli.session import session_of
from meshd_cli.watching import lazy_view


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context) -> None:
    """Check settings, store, clock, ports, registration, heartbeats, waiting tasks and speed; exit code 8 if one fails.

    \b
    Examples:
      mesh doctor
      mesh doctor --url redis://cache:6379/0 --json | jq '.checks[] | select(.state != "ok")'
    """
    from meshd_cli.checks import examine

    session = session_of(ctx)
    document = examine(session)
    render.show(session, document, lazy_view(session, "doctor.report"))
    if not document["healthy"]:
        raise typer.Exit(ExitCode.DEGRADED)
