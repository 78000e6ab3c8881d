"""Processes of a measured system, counted with their children and ended with them."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


class BrokenRunError(Exception):
    """A process of the measured system failed; the message has the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a tree of processes has used."""

    cpu_s: float
    rss: int
    """Bytes; pages shared between processes count once for each."""


class Process:
    """A process in a group of its own, with all its children."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._is_signalled = False
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Return if it still runs, or was sent a signal.

        Raises:
            BrokenRunError: it ended by itself.
        """
        if not self._is_signalled and self._process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-1500:].strip()
            raise BrokenRunError(f"a worker ended with exit code {self._process.returncode}: {tail}")

    def footprint(self) -> Footprint:
        cpu, rss = 0.0, 0
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess), process.oneshot():
                    times = process.cpu_times()
                    cpu += times.user + times.system
                    rss += process.memory_info().rss
        return Footprint(cpu_s=cpu, rss=rss)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        self._is_signalled = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End the whole group at once: its store is thrown away with it. Idempotent."""
        self.send(signal.SIGKILL)
        self._process.wait()
