"""What the ordinary commands say about the demo's mesh: run for real, by a process that shares nothing with it."""

import asyncio
import os
import sys
from dataclasses import dataclass

from meshd_cli.node_process import environment
from meshd_cli.session import Session

_COMMANDS = ("status", "agents")


@dataclass(frozen=True, slots=True)
class Screen:
    command: str
    text: str


async def look_around(session: Session) -> tuple[Screen, ...]:
    """Return what `mesh status` and `mesh agents` print right now."""
    return tuple(await asyncio.gather(*(_run(command, session) for command in _COMMANDS)))


async def _run(command: str, session: Session) -> Screen:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "meshd_cli.main",
        command,
        env={**os.environ, **environment(session), "MESHD_ENABLED": "true"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return Screen(f"mesh {command}", output.decode(errors="replace").rstrip())
