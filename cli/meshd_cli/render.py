"""The only place that prints. stdout carries data; stderr carries talk: notes, errors, hints."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from meshd_cli.hints import hint_for
from meshd_cli.session import Session

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from meshd.errors import MeshError

SCHEMA_VERSION = 1
PIPE_CLOSED = 141
"""Exit code of a program ended by SIGPIPE, as a shell reports it."""

PIPED_WIDTH = 10_000

Document = Mapping[str, Any]
"""What a read found: plain JSON types. `--json` prints it; a view turns it into something for people."""

View = Callable[[Document], "Iterable[RenderableType]"]


def show(session: Session, document: Document, view: View) -> None:
    """Print a document on stdout: as JSON if asked for, else through its view."""
    if session.json:
        _show_json(document)
        return
    screen = console(session)
    with screen.capture() as capture:
        for part in view(document):
            screen.print(part, highlight=False, markup=False, emoji=False, soft_wrap=False)
    line("\n".join(text.rstrip() for text in capture.get().rstrip().split("\n")))


def answer(session: Session, document: Document, text: str) -> None:
    """Print what one line of `text` says on stdout: as JSON if asked for."""
    if session.json:
        _show_json(document)
    else:
        line(text)


def line(text: str) -> None:
    """Print one piece of data on stdout; a reader that went away ends the command without a word."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(PIPE_CLOSED) from None


def clear(session: Session) -> None:
    """Start a fresh screen, if a person looks."""
    if sys.stdout.isatty() and not session.json:
        sys.stdout.write("\x1b[H\x1b[2J")


def note(text: str) -> None:
    """Say something on stderr."""
    _say(f"note: {text}")


def hint(text: str) -> None:
    """Name the next step on stderr."""
    _say(f"hint: {text}")


def error(exc: "MeshError | BaseException", *, debug: bool = False) -> None:
    """Say what went wrong in one line, and what to do about it in another."""
    if debug:
        _say("".join(traceback.format_exception(exc)).rstrip())
    _say(f"error: {str(exc) or type(exc).__name__}")
    advice = hint_for(getattr(exc, "code", ""))
    if advice:
        hint(advice)


@contextmanager
def progress(session: Session, what: str) -> "Generator[Callable[[int, int], None]]":
    """Draw a bar on stderr while the block runs, if a person looks; yield what moves it: done, of how many."""
    if session.json or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import Progress

    with Progress(console=console(session, sys.stderr), transient=True) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def console(session: Session, file: TextIO | None = None) -> "Console":
    """Return a console that colours only where that was asked for or a person looks."""
    from rich.console import Console

    is_terminal = (file or sys.stdout).isatty()
    colored = session.color == "always" or (session.color == "auto" and is_terminal and not os.environ.get("NO_COLOR"))
    return Console(
        file=file or sys.stdout,
        force_terminal=colored,
        no_color=not colored,
        color_system="standard" if colored else None,
        width=None if is_terminal else PIPED_WIDTH,
        highlight=False,
    )


def _show_json(document: Document) -> None:
    line(json.dumps({"schema_version": SCHEMA_VERSION, **document}, ensure_ascii=False, indent=_indent()))


def _indent() -> int | None:
    return 2 if sys.stdout.isatty() else None


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
