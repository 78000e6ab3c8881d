"""`mesh role`: one of the mesh's own jobs as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from meshd.role_names import RoleName
from meshd_cli.session import session_of

ROLE_HELP = """The mesh's own jobs. Nodes do them by themselves; a process of its own does nothing else.

\b
Examples:
  mesh role start topology
  mesh leader list
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=ROLE_HELP)
    group.command("start")(start)
    app.add_typer(group, name="role")


def start(
    ctx: typer.Context,
    role: Annotated[RoleName, typer.Argument(help="What to do.", show_default=False)],
    name: Annotated[str, typer.Option("--name", help="Id in the mesh; default: the role and a number.")] = "",
    log_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    lifeline: Annotated[bool, typer.Option("--lifeline", hidden=True)] = False,
) -> None:
    """Stand for a role and play it when elected, until Ctrl-C; groups and reclaim need no election.

    \b
    Examples:
      mesh role start consensus
      mesh role start topology --name topology-1
      mesh role start groups
    """
    from meshd.runtime.entry import Ties, end_process
    from meshd_cli.role_process import play

    end_process(play(session_of(ctx), role.value, name=name, ties=Ties(log=log_file, lifeline=lifeline)))
