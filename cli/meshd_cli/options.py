"""The options every command takes, before or after its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from meshd_cli.session import remember

PANEL = "Global options"
COLORS = ("auto", "always", "never")


def _keep(name: str) -> Callable[..., Any]:
    def callback(ctx: typer.Context, value: Any) -> Any:
        remember(ctx, name, value)
        return value

    return callback


def _color(ctx: typer.Context, value: str | None) -> str | None:
    if value is not None and value not in COLORS:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(COLORS)}.")
    remember(ctx, "color", value)
    return value


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        from meshd_cli import render

        render.line(f"mesh {version('agent-meshd')}")
        raise typer.Exit


def _option(*names: str, help: str, callback: Callable[..., Any], metavar: str | None = None) -> Any:
    return typer.Option(
        *names, callback=callback, expose_value=False, help=help, metavar=metavar, rich_help_panel=PANEL
    )


Url = Annotated[
    str | None, _option("--url", callback=_keep("url"), help="Store: sqlite:///mesh.db or redis://host:6379/0.")
]
MeshName = Annotated[str | None, _option("--mesh", callback=_keep("mesh"), help="Name of the mesh.")]
Config = Annotated[
    Path | None, _option("--config", callback=_keep("config"), help="Settings file instead of ./config.yaml.")
]
Json = Annotated[bool, _option("--json", callback=_keep("json"), help="Print JSON on stdout.")]
Color = Annotated[
    str | None, _option("--color", callback=_color, metavar="auto|always|never", help="Colour the output.")
]
Debug = Annotated[bool, _option("--debug", callback=_keep("debug"), help="DEBUG log on stderr, tracebacks on errors.")]
Verbose = Annotated[bool, _option("--verbose", "-v", callback=_keep("verbose"), help="DEBUG log on stderr.")]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_version, is_eager=True, expose_value=False, help="Print the version and exit."),
]


def root(
    url: Url = None,
    mesh: MeshName = None,
    config: Config = None,
    json: Json = False,
    color: Color = None,
    debug: Debug = False,
    verbose: Verbose = False,
    version: Version = False,
) -> None:
    """Nodes, agents and tasks of a mesh.

    \b
    Start here:
      mesh enable                  start this machine's node
      mesh status                  the whole mesh at a glance
      mesh submit text.analyze --arg text="So good." --wait

    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unreachable, 5 denied, 6 timeout, 7 conflict, 8 degraded,
    9 corrupt data.
    """


def spread(command: Any) -> Any:
    """Give every command and group below `command` the global options it does not define itself; return `command`."""
    shared = [param for param in command.params if getattr(param, "rich_help_panel", None) == PANEL]
    for below in _descendants(command):
        own = {name for param in below.params for name in param.opts}
        below.params.extend(param for param in shared if own.isdisjoint(param.opts))
    return command


def _descendants(command: Any) -> list[Any]:
    children = list(getattr(command, "commands", {}).values())
    return children + [deeper for child in children for deeper in _descendants(child)]
