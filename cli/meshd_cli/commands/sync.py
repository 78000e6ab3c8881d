"""`mesh sync`: do the upkeep now, reconcile the memory, and have every node confirm that it is current."""

from typing import TYPE_CHECKING, Any

import typer

from meshd.exit_codes import ExitCode
from meshd_cli import render
from meshd_cli.session import session_of
from meshd_cli.watching import show

if TYPE_CHECKING:
    from meshd.memory.syncing import SyncReport
    from meshd.mesh import Mesh


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)


def sync(ctx: typer.Context) -> None:
    """Bring the mesh up to date now: judge silent nodes, take back lapsed tasks, reconcile every node's memory.

    A node confirms by a heartbeat that is newer than this command, and its memory by being equal to the store's: clocks
    and digests are compared, and what either lacks is exchanged. Exit code 8 if a live node did not confirm.

    \b
    Examples:
      mesh sync
      mesh sync --json | jq '.nodes[] | select(.confirmed | not)'
    """
    from meshd_cli.refresh import read_sync

    session = session_of(ctx)

    async def read(mesh: "Mesh") -> dict[str, Any]:
        with render.progress(session, "Replicas in step") as tell:
            return await read_sync(mesh, lambda report: tell(_answered(report), len(report.nodes)))

    document = show(ctx, read, "sync.sync")
    if not document["confirmed"]:
        raise typer.Exit(ExitCode.DEGRADED)


def _answered(report: "SyncReport") -> int:
    return sum(each.confirmed for each in report.nodes)
