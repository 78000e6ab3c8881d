"""One supervised process, from start to exit: its PID file, its log, its process group."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshd.runtime.logfiles import open_log
from meshd.runtime.processes import write_pid_file
from meshd.runtime.state_dir import StateDir


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run under a name."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to the environment of the supervisor."""


@dataclass(frozen=True, slots=True)
class Child:
    """One life of a command.

    Its standard input is the lifeline (see `tether`); it leads a process group, so a Ctrl-C meant for the supervisor
    does not reach it, and what its handlers started can be ended with it.
    """

    command: Command
    state: StateDir
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, command: Command, state: StateDir) -> "Child":
        """Start it, with its PID on file."""
        with open_log(state.log_file(command.name)) as log:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=command.cwd,
                env={**os.environ, **command.env},
                start_new_session=True,
            )
        write_pid_file(state.pid_file(command.name), process.pid)
        return cls(command, state, process)

    @property
    def pid(self) -> int:
        return self.process.pid

    def terminate(self) -> None:
        """Ask it to drain and end."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """End it and all it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Return its exit code once it has ended, with nothing of it left: no group member, no PID file."""
        try:
            return await self.process.wait()
        finally:
            self.kill()
            self.state.pid_file(self.command.name).unlink(missing_ok=True)
