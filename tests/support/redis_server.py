"""A real redis-server on a free loopback port, which tests may kill and restart."""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

START_TIMEOUT_S = 10.0
FIRST_PORT, PORTS = 12_000, 20_000
"""Where servers listen: below what Linux and macOS give to outgoing connections."""


def free_port() -> int:
    """Return a TCP port nobody listens on at this moment, and that no outgoing connection is given meanwhile."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One redis-server process on a fixed port and directory: what it kept on disk is there again after a restart."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._aof = False
        self._options: Mapping[str, str] = {}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, aof: bool = False, options: Mapping[str, str] | None = None) -> None:
        """Start and return once it answers; with `aof` it keeps acknowledged writes through a kill.

        `options` are more command line options, kept by a restart.
        """
        assert not self.is_running, "the server runs already"
        self._aof = aof
        self._options = options or {}
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait_ready()

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Start again on the same port and directory, after a kill or a stop."""
        self.kill()
        self.start(aof=self._aof, options=self._options)

    def freeze(self) -> None:
        """Stop it with SIGSTOP: it keeps its connections and answers nobody."""
        assert self._process is not None, "the server is not running"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self._process is not None, "the server is not running"
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it with SIGTERM, by force if it does not follow. Idempotent."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _command(self) -> list[str]:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.directory),
            "--save": "",
            "--appendonly": "yes" if self._aof else "no",
            "--appendfsync": "everysec",
            "--maxmemory-policy": "noeviction",
            **self._options,
        }
        return ["redis-server", *(part for pair in options.items() for part in pair)]

    def _wait_ready(self) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if not self.is_running or time.monotonic() > end:
                self.kill()
                log = (self.directory / "redis.log").read_text(errors="replace")
                raise RuntimeError(f"redis-server did not start on port {self.port}:\n{log[-2000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        return self._ping().startswith(b"+PONG")

    def _ping(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64)
        except OSError:
            return b""

    @property
    def is_loading(self) -> bool:
        """Whether it says that it reads its file and cannot answer yet."""
        return self._ping().startswith(b"-LOADING")
