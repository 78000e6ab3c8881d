"""`mesh shell`: the commands without typing `mesh` each time."""

import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import typer

from meshd_cli import render
from meshd_cli.session import session_of

SLASHED = {
    name: name.removeprefix("mesh_")
    for name in ("mesh_status", "mesh_enable", "mesh_agents", "mesh_sync", "mesh_disable")
}
LEAVE = frozenset({"exit", "quit"})
PROMPT = "mesh> "


def register(app: typer.Typer) -> None:
    app.command("shell")(shell)


def shell(ctx: typer.Context) -> None:
    """Take commands line by line: /mesh_status, /mesh_agents, status, submit …; help; exit. Reads a pipe too.

    \b
    Examples:
      mesh shell
      printf '/mesh_enable\\n/mesh_status\\n' | mesh shell
    """
    from meshd_cli.main import run

    given = session_of(ctx)
    code = 0
    for text in _lines():
        try:
            words = shlex.split(text, comments=True)
        except ValueError as exc:
            render.note(f"{text!r}: {exc}")
            code = 2
            continue
        if words and words[0] in LEAVE:
            break
        if words:
            code = run(_translated(words), session=given.fresh())
    raise typer.Exit(code)


def _translated(words: list[str]) -> list[str]:
    name = words[0].removeprefix("/")
    return ["--help"] if name == "help" else [SLASHED.get(name, name), *words[1:]]


def _lines() -> Iterator[str]:
    """Yield what is typed, with editing and history where there is readline, or what the pipe holds."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    if find_spec("readline"):
        import_module("readline")

    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            render.line("")
            return
        except KeyboardInterrupt:
            render.line("")
