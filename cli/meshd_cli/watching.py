"""Reading once, or again and again: what `--watch` does."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from meshd_cli import render
from meshd_cli.session import Session, session_of

if TYPE_CHECKING:
    from meshd.mesh import Mesh

INTERVAL_SECONDS = 1.0

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Read again every second until Ctrl-C.")]
Read = Callable[["Mesh"], Awaitable["render.Document"]]


def show(ctx: typer.Context, read: Read, view: str, *, watch: bool = False) -> "render.Document":
    """Read a document from the mesh and print it; with `watch`, do so until interrupted. Return the last one read.

    `view` is `module.function` under `meshd_cli.views`; it is imported only when people read the output.
    """
    import asyncio

    session = session_of(ctx)

    async def work(mesh: "Mesh") -> "render.Document":
        document = await read(mesh)
        render.show(session, document, lazy_view(session, view))
        while watch:
            await asyncio.sleep(INTERVAL_SECONDS)
            document = await _again(mesh, read, document)
            render.clear(session)
            render.show(session, document, lazy_view(session, view))
        return document

    return session.run(work)


def lazy_view(session: Session, view: str) -> "render.View":
    """Return the view of this name, imported only if it is going to draw."""
    if session.json:
        return lambda _: ()
    from importlib import import_module

    module, _, name = view.partition(".")
    found: render.View = getattr(import_module(f"meshd_cli.views.{module}"), name)
    return found


async def _again(mesh: "Mesh", read: Read, last: "render.Document") -> "render.Document":
    """Return a new reading, or the last one while the store is away."""
    from meshd.errors import UnavailableError

    try:
        return await read(mesh)
    except UnavailableError as exc:
        render.note(f"{exc}; still trying")
        return last
