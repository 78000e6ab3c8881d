"""Entry point of `mesh`: build the command tree, run it, turn what is raised into one line and an exit code."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.main import get_command

from meshd.errors import MeshError
from meshd_cli import options, render
from meshd_cli.session import Session

INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str], *, session: Session | None = None) -> int:
    """Run one command and return its exit code."""
    session = session or Session()
    try:
        tree()(args=list(arguments), prog_name="mesh", obj=session)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    except BaseException as exc:
        return _failed(exc, debug=session.debug)
    return 0


def tree() -> Any:
    """Return the whole command tree. It imports no backend, no settings and nothing that draws."""
    from meshd_cli import commands  # noqa: PLC0415 - the shell command needs `run`

    app = typer.Typer(
        callback=options.root,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    commands.register(app)
    return options.spread(get_command(app))


def _failed(exc: BaseException, *, debug: bool) -> int:
    match exc:
        case MeshError():
            render.error(exc, debug=debug)
            return exc.exit_code
        case KeyboardInterrupt():
            return INTERRUPTED
        case BaseExceptionGroup() if _only(exc) is not exc:
            return _failed(_only(exc), debug=debug)
        case _:
            raise exc


def _only(exc: BaseException) -> BaseException:
    """Return the one error a task group wrapped, or the error itself."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


if __name__ == "__main__":
    main()
