"""Entry point of `mesh`: build the command tree, run it, turn what is raised into one line and an exit code."""

import gc
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.main import get_command

from meshd.errors import MeshError
from meshd_cli import options, render
from meshd_cli.session import Session

INTERRUPTED = 130
COLLECT_AFTER = 20_000
"""Objects made between two looks for cycles: at Python's 700, a tenth of the time until a command answers is theirs."""


def main() -> None:
    """Run the command line of this process."""
    gc.set_threshold(COLLECT_AFTER)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str], *, session: Session | None = None) -> int:
    """Run one command and return its exit code."""
    session = session or Session()
    try:
        tree()(args=list(arguments), prog_name="mesh", obj=session)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - what is not ours is raised again
        return _failed(exc, debug=session.debug)
    return 0


def tree() -> Any:
    """Return the whole command tree. It imports no backend, no settings and nothing that draws."""
    from meshd_cli import commands

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
        case BaseExceptionGroup():
            first, *others = exc.exceptions
            if others:
                raise exc
            return _failed(first, debug=debug)
        case _:
            raise exc


if __name__ == "__main__":
    main()
