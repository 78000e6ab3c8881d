"""Commands about processes on this machine: a node in this terminal, this machine's node, a fleet of nodes."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshd_cli import render
from meshd_cli.session import session_of

if TYPE_CHECKING:
    from meshd.runtime.local import LocalNode
    from meshd.settings import Settings

Name = Annotated[str, typer.Option("--name", help="Id of the node.", show_default=False)]
Type = Annotated[str, typer.Option("--type", help="Node type; default from the settings.", show_default=False)]
Capabilities = Annotated[str, typer.Option("--capabilities", metavar="A,B", help="What it can do.", show_default=False)]
Labels = Annotated[str, typer.Option("--labels", metavar="A=X,B=Y", help="What it has.", show_default=False)]
Role = Annotated[str, typer.Option("--role", help="Role of its agent, free text.", show_default=False)]
Module = Annotated[
    str, typer.Option("--module", metavar="MODULE|FILE.py", help="Python module with its handlers.", show_default=False)
]
Concurrency = Annotated[int | None, typer.Option(min=1, max=10_000, help="How many tasks it runs at once.")]
Grace = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long running tasks may take to finish.")]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for the mesh to see it.")]
LogFile = Annotated[Path | None, typer.Option(hidden=True)]

NODE_HELP = """A node as a process in this terminal.

\b
Examples:
  mesh node start --name n1 --capabilities text.analyze
  mesh node start --module my_handlers --concurrency 4
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    node = typer.Typer(no_args_is_help=True, help=NODE_HELP)
    node.command("start")(start)
    app.add_typer(node, name="node")
    for command in (enable, disable, up, down, ps, logs):
        app.command(command.__name__)(command)


def local_node(settings: "Settings") -> "LocalNode | None":
    """Return this machine's node if it runs."""
    from meshd.runtime import local
    from meshd_cli import machine

    return local.local_node(machine.state_of(settings))


def start(
    ctx: typer.Context,
    name: Name = "",
    type: Type = "",
    capabilities: Capabilities = "",
    labels: Labels = "",
    role: Role = "",
    module: Module = "",
    concurrency: Concurrency = None,
    grace: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="How long running tasks may take to finish.")
    ] = None,
    log_file: LogFile = None,
    lifeline: Annotated[bool, typer.Option("--lifeline", hidden=True)] = False,
) -> None:
    """Run a node here until Ctrl-C.

    \b
    Examples:
      mesh node start --name n1 --capabilities text.analyze --module my_handlers
      mesh node start --name sales-1 --role sales --capabilities upselling,german=expert --labels zone=eu
    """
    from meshd.runtime.entry import Ties, end_process
    from meshd_cli import machine
    from meshd_cli.node_process import NodeWords, split

    words = NodeWords(
        name=name,
        type=type,
        capabilities=split(capabilities),
        labels=split(labels),
        role=role,
        module=module,
        concurrency=concurrency,
        grace=grace,
    )
    end_process(machine.start(session_of(ctx), words, Ties(log=log_file, lifeline=lifeline)))


def enable(
    ctx: typer.Context,
    name: Name = "",
    type: Type = "",
    capabilities: Capabilities = "",
    labels: Labels = "",
    role: Role = "",
    module: Module = "",
    concurrency: Concurrency = None,
    timeout: Timeout = 30.0,
) -> None:
    """Start this machine's node in the background; returns when every node of the mesh can see it.

    \b
    Examples:
      mesh enable
      mesh enable --type language_expert --name reader-1
    """
    from meshd_cli import machine
    from meshd_cli.node_process import NodeWords, split

    words = NodeWords(
        name=name,
        type=type,
        capabilities=split(capabilities),
        labels=split(labels),
        role=role,
        module=module,
        concurrency=concurrency,
    )
    session = session_of(ctx)
    done = machine.enable(session, words, timeout=timedelta(seconds=timeout))
    document = {
        "kind": "enabled",
        "node": done.local.name,
        "pid": done.local.process.pid,
        "was_running": done.was_running,
    }
    render.answer(session, document, f"{'already enabled' if done.was_running else 'enabled'}: node {done.local.name}")
    render.note(f"process {done.local.process.pid}, type {done.record.profile.type}, log {done.local.log}")
    render.hint("`mesh status` shows the mesh, `mesh disable` leaves it")


def disable(ctx: typer.Context, grace: Grace = 30.0) -> None:
    """Stop this machine's node; returns when it has left the mesh.

    \b
    Examples:
      mesh disable
      mesh disable --grace 2
    """
    from meshd_cli import machine

    session = session_of(ctx)
    done = machine.disable(session, grace=timedelta(seconds=grace))
    said = f"disabled: node {done.name} left" if done.was_running else "not enabled: no node runs here"
    render.answer(session, {"kind": "disabled", "node": done.name or None, "was_running": done.was_running}, said)
    if done.killed:
        render.note("it did not end in time and was killed; its tasks were given back")
    render.hint("`mesh enable` brings it back under the same id")


def up(
    ctx: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="Which nodes to run.")] = Path("mesh.yaml"),
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all nodes are in the mesh.")] = False,
    grace: Grace = 1.5,
    timeout: Timeout = 30.0,
    log_file: LogFile = None,
) -> None:
    """Run the nodes of a mesh.yaml and keep them running until Ctrl-C.

    \b
    Examples:
      mesh up -f mesh.yaml
      mesh up --detach && mesh ps && mesh logs n1 -f
    """
    from meshd_cli import fleet_up

    session = session_of(ctx)
    plan = fleet_up.plan(session, file, grace=timedelta(seconds=grace))
    if not detach:
        raise typer.Exit(fleet_up.up(plan, log=log_file))
    nodes = fleet_up.up_detached(session, plan, timeout=timedelta(seconds=timeout))
    names = [node.id for node in nodes]
    render.answer(session, {"kind": "up", "nodes": names}, f"up: {', '.join(names)}")
    render.hint("`mesh ps` shows them, `mesh logs NAME -f` follows one, `mesh down` stops all")


def down(ctx: typer.Context, grace: Grace = 1.5) -> None:
    """Stop what `mesh up` started here.

    \b
    Examples:
      mesh down
      mesh down --grace 10
    """
    from meshd_cli import fleet_up

    session = session_of(ctx)
    names = fleet_up.down(session, grace=timedelta(seconds=grace))
    said = f"down: {', '.join(names)}" if names else "nothing to stop: no fleet runs here"
    render.answer(session, {"kind": "down", "nodes": list(names)}, said)


def ps(ctx: typer.Context) -> None:
    """Show this machine's node processes.

    \b
    Examples:
      mesh ps
      mesh ps --json
    """
    from meshd_cli import machine
    from meshd_cli.views.processes import process_table

    session = session_of(ctx)
    document = machine.processes(session)
    render.show(session, document, process_table)
    if not document["processes"]:
        render.hint("`mesh enable` starts this machine's node, `mesh up -f mesh.yaml` a fleet")


def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Id of a node that runs or ran here.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines from the end.")] = 100,
) -> None:
    """Show the log of a node of this machine.

    \b
    Examples:
      mesh logs n1
      mesh logs n1 -f -n 20
    """
    from meshd_cli import machine

    session = session_of(ctx)

    def show(text: str) -> None:
        render.answer(session, {"kind": "log_line", "name": name, "line": text}, text)

    machine.logs(session, name, lines=lines, is_followed=follow, show=show)
