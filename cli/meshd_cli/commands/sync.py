"""`mesh sync`: do the upkeep now, and have every node confirm that it is current."""

import typer

from meshd.errors import ExitCode
from meshd_cli.watching import show


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)


def sync(ctx: typer.Context) -> None:
    """Refresh the mesh now: judge silent nodes, take back lapsed tasks, and wait until every node has confirmed.

    A node confirms by a heartbeat that is newer than this command. Exit code 8 if one did not. Synchronising shared
    memory is not available yet.

    \b
    Examples:
      mesh sync
      mesh sync --json | jq '.nodes[] | select(.confirmed | not)'
    """
    from meshd_cli.refresh import read_sync

    document = show(ctx, read_sync, "sync.sync")
    if not document["confirmed"]:
        raise typer.Exit(ExitCode.DEGRADED)
