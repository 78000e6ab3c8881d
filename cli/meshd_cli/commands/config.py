"""`mesh config`: the settings in effect, and where each came from."""

from typing import Annotated

import typer

from meshd_cli import render
from meshd_cli.session import session_of
from meshd_cli.watching import lazy_view

CONFIG_HELP = """Look at the settings.

\b
Examples:
  mesh config show --sources
  mesh config show --json | jq .settings
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=CONFIG_HELP)
    group.callback()(_config)
    group.command("show")(show_settings)
    app.add_typer(group, name="config")


def _config() -> None:
    """Look at the settings."""


def show_settings(
    ctx: typer.Context,
    sources: Annotated[bool, typer.Option("--sources", help="Say where each value came from.")] = False,
) -> None:
    """Show every setting in effect here. Passwords are hidden.

    \b
    Examples:
      mesh config show --sources
      MESHD_REDIS__HOST=cache mesh config show --json | jq .settings
    """
    session = session_of(ctx)
    document = {
        "kind": "settings",
        "settings": session.settings.flat(),
        "sources": session.settings.sources() if sources else None,
    }
    render.show(session, document, lazy_view(session, "config.settings"))
