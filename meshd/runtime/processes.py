"""Processes by name: PID files that cannot be confused by a reused pid, and stopping without leaving anyone behind.

Invariant: a PID file holds nothing but the pid, and its modification time is the start time of that process. A process
with the same pid and another start time is a stranger and is never signalled.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from meshd.errors import ConfigurationError, ConflictError

START_TOLERANCE_SECONDS = 2.0
"""How far two readings of one start time may differ: the boot time they rest on moves with clock corrections."""
POLL_SECONDS = 0.01
GRACE = timedelta(seconds=1.5)
"""How long a node may drain by default when all on this machine end: with `HURRY`, all are gone within 5 s."""
HURRY = timedelta(seconds=2.6)
"""How long a node may take, once told a second time, to give back what it still runs and leave."""


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """One process, told apart from a later one with its pid by its start time (Unix seconds)."""

    pid: int
    started: float

    @property
    def is_running(self) -> bool:
        """Whether it still runs; a zombie does not."""
        found = identify(self.pid)
        return found is not None and abs(found.started - self.started) <= START_TOLERANCE_SECONDS

    def send(self, signum: signal.Signals) -> None:
        """Signal it; nothing happens when it is gone."""
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)


def identify(pid: int) -> ProcessRef | None:
    """Return the process that has `pid` now, or `None` if none runs."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessRef(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


def write_pid_file(path: Path, pid: int) -> ProcessRef | None:
    """Put the running process `pid` on file, in one step; write nothing and return `None` if it is gone already."""
    process = identify(pid)
    if process is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(f"{pid}\n")
    os.utime(draft, (process.started, process.started))
    draft.replace(path)
    return process


def recorded(path: Path) -> ProcessRef | None:
    """Return the process on file, running or not; `None` when there is no file or it is damaged."""
    try:
        return ProcessRef(int(path.read_text().split()[0]), path.stat().st_mtime)
    except (FileNotFoundError, ValueError, IndexError):
        return None


def running(path: Path) -> ProcessRef | None:
    """Return the process on file if it runs."""
    process = recorded(path)
    return process if process is not None and process.is_running else None


def pid_files(folder: Path) -> dict[str, ProcessRef | None]:
    """Return every PID file of `folder` by name, with its process, or `None` where the process is gone."""
    return {path.stem: running(path) for path in sorted(folder.glob("[!.]*.pid"))}


async def stop(processes: Collection[ProcessRef], *, grace: timedelta) -> frozenset[ProcessRef]:
    """Ask all to end, again after `grace`, kill after `HURRY` more; return when none runs, with those killed."""
    left = frozenset(processes)
    for patience in (grace, HURRY):
        for process in left:
            process.send(signal.SIGTERM)
        left = await wait_gone(left, timeout=patience)
    for process in left:
        process.send(signal.SIGKILL)
    await wait_gone(left, timeout=timedelta(seconds=5))
    return left


async def wait_gone(processes: Collection[ProcessRef], *, timeout: timedelta) -> frozenset[ProcessRef]:
    """Return as soon as all have ended, or after `timeout` with those that have not."""
    deadline = asyncio.get_running_loop().time() + timeout.total_seconds()
    left = frozenset(processes)
    while left := frozenset(process for process in left if process.is_running):
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(POLL_SECONDS)
    return left


@asynccontextmanager
async def exclusive(path: Path, *, subject: str, patience: timedelta = timedelta(0)) -> AsyncGenerator[None, None]:
    """Hold the lock file `path` for the block; the kernel frees it however the process ends.

    Raises:
        ConflictError: another process still holds it after `patience`.
        ConfigurationError: its folder cannot be written.
    """
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    descriptor = _open_lock(path)
    try:
        while not _try_lock(descriptor):
            if asyncio.get_running_loop().time() >= deadline:
                raise ConflictError(f"{subject} (lock {path})")
            await asyncio.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise ConfigurationError(
            f"state folder {path.parent} cannot be written: {exc.strerror}; set state_dir to another"
        ) from exc


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
