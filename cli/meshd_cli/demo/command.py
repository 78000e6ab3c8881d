"""The words of `mesh demo`."""

from pathlib import Path
from typing import Annotated

import typer

from meshd_cli.session import session_of

Folder = Annotated[
    Path | None,
    typer.Argument(help="Folder of text files.", show_default="this Python's standard library"),
]
Nodes = Annotated[int, typer.Option("--nodes", min=1, max=64, help="Node processes; the last one joins late.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most files to analyse.")]
Seed = Annotated[int, typer.Option("--seed", help="Decides which task gets which priority.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the store and the logs, and say where they are.")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the report there as JSON.")]


def register(app: typer.Typer) -> None:
    """Add `demo` to the command tree."""
    app.command("demo")(demo)


def demo(
    ctx: typer.Context,
    folder: Folder = None,
    nodes: Nodes = 4,
    limit: Limit = 600,
    seed: Seed = 1,
    keep: Keep = False,
    report: Report = None,
) -> None:
    """Analyse real files on several node processes, and kill one of them half-way.

    One task per file, mixed priorities, a fresh SQLite file unless --url names another store. Ends with 0 only if every
    task completed, exactly once.

    \b
    Examples:
      mesh demo
      mesh demo ~/notes --nodes 6 --report demo.json
      mesh demo --url redis://localhost:6379/0
    """
    from meshd_cli.demo.stage import Wishes, perform

    wishes = Wishes(folder=folder, nodes=nodes, limit=limit, seed=seed, keep=keep, report=report)
    raise typer.Exit(perform(session_of(ctx), wishes))
