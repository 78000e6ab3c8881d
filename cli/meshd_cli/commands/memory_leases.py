"""`mesh memory lease`: run a command while a key belongs to this process alone."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from meshd_cli import render
from meshd_cli.durations import duration
from meshd_cli.session import session_of

if TYPE_CHECKING:
    from meshd.memory.leases import KeyLease
    from meshd.mesh import Mesh

TOKEN_VARIABLE = "MESH_LEASE_TOKEN"  # noqa: S105 -- the name of a variable
"""Tells the command its fencing token."""


def register(group: typer.Typer) -> None:
    group.command("lease")(lease)


def lease(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="The key to hold.")],
    command: Annotated[list[str], typer.Argument(help="Command to run meanwhile, after --.")],
    ttl: Annotated[
        timedelta | None,
        typer.Option(parser=duration, help="How long it outlives this process: 15s.", metavar="DURATION"),
    ] = None,
    wait: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Wait so long for the key to be free.", metavar="DURATION")
    ] = None,
    agent: Annotated[str, typer.Option(help="Hold it on behalf of this agent.")] = "",
) -> None:
    """Run a command while a key is held: nobody else can hold it, and it is free soon after this process is gone.

    Ends with the exit code of the command; 7 if the key is held by somebody else, or was lost meanwhile. The command
    finds a number in MESH_LEASE_TOKEN that is higher than that of every earlier holder.

    \b
    Examples:
      mesh memory lease locks/deploy -- ./deploy.sh
      mesh memory lease locks/report --wait 1m -- sh -c 'echo held under $MESH_LEASE_TOKEN'
    """

    async def work(mesh: "Mesh") -> int:
        from meshd.memory.service import LEASE_TTL

        held = mesh.memory.by(agent=agent).lease(key, {"pid": os.getpid()}, ttl=ttl or LEASE_TTL)
        await held.take(wait=wait)
        try:
            return await _run(command, held)
        finally:
            await held.give_back()

    raise typer.Exit(session_of(ctx).run(work))


async def _run(command: list[str], held: "KeyLease") -> int:
    """Run the command to its end; end it if the lease is lost."""
    import asyncio

    from meshd.errors import InvalidArgumentError
    from meshd.exit_codes import ExitCode

    try:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, TOKEN_VARIABLE: str(held.token)})
    except OSError as exc:
        raise InvalidArgumentError(f"command {command[0]!r} cannot be run: {exc.strerror}") from exc
    ended = asyncio.create_task(process.wait())
    lost = asyncio.create_task(held.lost())
    try:
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        process.terminate()
        await ended
    finally:
        lost.cancel()
    render.note(f"the lease on {held.key} was lost; the command was ended")
    return ExitCode.CONFLICT
