"""The run's node processes: started, killed, started again under the same name, asked to leave at the end."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.effects import path_of
from tests.chaos.history import Freeze, Kill

LEAVE_TIMEOUT_S = 40.0


class Fleet:
    """Node processes by life: a name, a dot, and how often that name was started."""

    def __init__(self, *, url: str, mesh: str, directory: Path, concurrency: int) -> None:
        self._arguments = (url, mesh)
        self._directory = directory
        self._concurrency = concurrency
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}
        self.exits: dict[str, int] = {}
        """Lives that ended although nobody killed them, or not with 0 when asked to leave."""

    @property
    def names(self) -> Sequence[str]:
        return list(self._starts)

    def start(self, name: str) -> str:
        """Start a process under this name; return its life."""
        self._starts[name] = self._starts.get(name, 0) + 1
        life = f"{name}.{self._starts[name]}"
        url, mesh = self._arguments
        command = [sys.executable, "-m", "tests.chaos.node_process", url, mesh, life, str(self._directory)]
        with (self._directory / f"{life}.log").open("wb") as log:
            process = subprocess.Popen([*command, str(self._concurrency)], stdout=log, stderr=log)
        self._running[life] = process
        return life

    def at_work(self) -> Sequence[str]:
        """Return the lives that have begun a task, in order; notes those that ended by themselves."""
        for life, process in list(self._running.items()):
            code = process.poll()
            if code is not None:
                self.exits[life] = code
                del self._running[life]
        return [life for life in sorted(self._running) if self._has_worked(life)]

    def _has_worked(self, life: str) -> bool:
        path = path_of(self._directory, life=life)
        return path.exists() and path.stat().st_size > 0

    def kill(self, life: str) -> Kill:
        """End one process with SIGKILL."""
        process = self._running.pop(life)
        at_ms = time.time_ns() // 1_000_000
        process.kill()
        process.wait()
        return Kill(life=life, at_ms=at_ms)

    async def freeze(self, life: str, seconds: float) -> Freeze:
        """Stop one process for a while with SIGSTOP."""
        process = self._running[life]
        at_ms = time.time_ns() // 1_000_000
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        return Freeze(life=life, at_ms=at_ms, until_ms=time.time_ns() // 1_000_000)

    async def leave(self) -> None:
        """Ask all to leave and wait until they have."""
        leaving, self._running = self._running, {}
        for process in leaving.values():
            process.terminate()
        for life, process in leaving.items():
            code = await asyncio.to_thread(_ended, process)
            if code != 0:
                self.exits[life] = code

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(LEAVE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
