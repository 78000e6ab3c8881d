"""The run's node processes: started, killed, started again under the same name, asked to leave at the end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.effects import path_of
from tests.chaos.history import Freeze, Kill
from tests.support.freezing import freeze
from tests.support.waiting import wait_until

LEAVE_TIMEOUT_S = 40.0
LAST_LINES = 30
"""How much is shown of the log of a process that ended by itself."""


class Fleet:
    """Node processes by life: a name, a dot, and how often that name was started."""

    def __init__(self, *, url: str, mesh: str, directory: Path, concurrency: int) -> None:
        self._arguments = (url, mesh)
        self._directory = directory
        self._concurrency = concurrency
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}
        self.exits: dict[str, int] = {}
        """Lives that ended although nobody killed them, or not with 0 when asked to leave."""

    @property
    def names(self) -> Sequence[str]:
        return list(self._starts)

    def start(self, name: str, *, environment: Mapping[str, str] | None = None) -> str:
        """Start a process under this name, with these variables besides ours; return its life."""
        self._starts[name] = self._starts.get(name, 0) + 1
        life = f"{name}.{self._starts[name]}"
        url, mesh = self._arguments
        command = [sys.executable, "-m", "tests.chaos.node_process", url, mesh, life, str(self._directory)]
        with self._log(life).open("wb") as log:
            process = subprocess.Popen(
                [*command, str(self._concurrency)], stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        self._running[life] = process
        return life

    def fallen(self) -> Mapping[str, int]:
        """Return the exit codes of the lives that have ended by themselves since the last look."""
        codes = {life: process.poll() for life, process in self._running.items()}
        fallen = {life: code for life, code in codes.items() if code is not None}
        for life in fallen:
            del self._running[life]
        return fallen

    def at_work(self) -> Sequence[str]:
        """Return the lives that have begun a task, in order; notes those that ended by themselves."""
        self.exits.update(self.fallen())
        return [life for life in sorted(self._running) if self._has_worked(life)]

    def _has_worked(self, life: str) -> bool:
        path = path_of(self._directory, life=life)
        return path.exists() and path.stat().st_size > 0

    async def _until_joined(self, life: str) -> None:
        await wait_until(lambda: self._has_joined(life), timeout=LEAVE_TIMEOUT_S)

    def _has_joined(self, life: str) -> bool:
        return self._running[life].poll() is not None or " joined mesh " in self._log(life).read_text(errors="replace")

    def kill(self, life: str) -> Kill:
        """End one process with SIGKILL."""
        process = self._running.pop(life)
        at_ms = time.time_ns() // 1_000_000
        process.kill()
        process.wait()
        return Kill(life=life, at_ms=at_ms)

    async def freeze(self, life: str, seconds: float) -> Freeze:
        """Stop one process for a while with SIGSTOP."""
        at_ms = time.time_ns() // 1_000_000
        await self.halt(life)
        await asyncio.sleep(seconds)
        self.wake(life)
        return Freeze(life=life, at_ms=at_ms, until_ms=time.time_ns() // 1_000_000)

    async def halt(self, life: str) -> None:
        """Stop one process with SIGSTOP."""
        await asyncio.to_thread(freeze, self._running[life], self._arguments[0])

    def wake(self, life: str) -> None:
        """Let a stopped process go on."""
        self._running[life].send_signal(signal.SIGCONT)

    async def send_away(self, life: str) -> None:
        """Ask one process to leave and wait until it has."""
        process = self._leaving[life] = self._running.pop(life)
        process.terminate()
        await self._note_exit(life, process)
        del self._leaving[life]

    async def wait(self, life: str) -> int:
        """Return the exit code of a process that is to end by itself."""
        return await asyncio.to_thread(_ended, self._running.pop(life))

    def last_words(self) -> dict[str, str]:
        """Return the end of the log of each process that ended by itself."""
        return {
            life: "\n".join(self._log(life).read_text(errors="replace").splitlines()[-LAST_LINES:])
            for life in self.exits
        }

    def _log(self, life: str) -> Path:
        return self._directory / f"{life}.log"

    async def leave(self) -> None:
        """Ask all to leave and wait until they have; one that is still starting is a member first."""
        for life in self._running:
            await self._until_joined(life)
        leaving, self._running = self._running, {}
        for process in leaving.values():
            process.terminate()
        for life, process in leaving.items():
            await self._note_exit(life, process)

    async def _note_exit(self, life: str, process: "subprocess.Popen[bytes]") -> None:
        code = await asyncio.to_thread(_ended, process)
        if code != 0:
            self.exits[life] = code

    def close(self) -> None:
        """End whatever still runs."""
        for process in [*self._running.values(), *self._leaving.values()]:
            process.kill()
            process.wait()
        self._running.clear()
        self._leaving.clear()


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(LEAVE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
