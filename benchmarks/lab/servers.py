"""A private redis-server per measured run, and what it says about the work it did."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import psutil
import redis

START_TIMEOUT_S = 10.0
QUIET_CALLS = 25
"""So few commands in a tenth of a second are heartbeats, not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the server has done and holds at one moment."""

    commands: int
    """Calls, those made inside Lua included."""
    reads: int
    """Reads from sockets."""
    memory: int
    """Bytes of data: without the buffers of connected clients and the texts of scripts."""
    keys: int


class Store(Protocol):
    """One server, or several that are one store."""

    url: str

    def cpu_s(self) -> float:
        """Return the CPU seconds of the servers, all their threads."""
        ...

    def read(self) -> Reading: ...

    def settle(self) -> None:
        """Return once hardly any command comes any more."""
        ...


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of one process, all its threads."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def reading_of(client: Any) -> Reading:
    """Return what the server behind a client says of itself."""
    info: dict[str, Any] = client.info("everything")
    aside = info["mem_clients_normal"] + info.get("used_memory_scripts_eval", 0) + info["mem_aof_buffer"]
    return Reading(
        commands=sum(entry["calls"] for name, entry in info.items() if name.startswith("cmdstat_")),
        reads=info["total_reads_processed"],
        memory=info["used_memory"] - aside,
        keys=sum(entry["keys"] for name, entry in info.items() if name.startswith("db")),
    )


def settle(commands: Callable[[], int], *, timeout_s: float = 15.0) -> None:
    """Return once `commands`, a count, hardly grows any more."""
    end, before = time.monotonic() + timeout_s, commands()
    while time.monotonic() < end:
        time.sleep(0.1)
        now = commands()
        if now - before <= QUIET_CALLS:
            return
        before = now


class Server:
    """One redis-server on a free loopback port for the length of a block: no persistence, or an AOF synced always."""

    def __init__(self, folder: Path, *, aof_always: bool = False) -> None:
        self._folder = folder
        self._aof_always = aof_always
        self._port = _free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.client = cast("Any", redis.Redis)(port=self._port)
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(redis.ConnectionError):
                self.client.ping()
                return self
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"redis-server did not start: {(self._folder / 'redis.log').read_text()[-1000:]}")
            time.sleep(0.01)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def cpu_s(self) -> float:
        return cpu_of(self._process.pid)

    def read(self) -> Reading:
        return reading_of(self.client)

    def settle(self) -> None:
        settle(lambda: int(self.client.info("stats")["total_commands_processed"]))

    def cost_of(self, command: str) -> tuple[int, int]:
        """Return calls of one command so far and microseconds spent in them."""
        entry: dict[str, int] = self.client.info("commandstats").get(f"cmdstat_{command}", {})
        return entry.get("calls", 0), entry.get("usec", 0)

    def _command(self) -> list[str]:
        options = {
            "--port": str(self._port),
            "--bind": "127.0.0.1",
            "--dir": str(self._folder),
            "--save": "",
            "--appendonly": "yes" if self._aof_always else "no",
            "--appendfsync": "always",
        }
        return ["redis-server", *(part for pair in options.items() for part in pair)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
