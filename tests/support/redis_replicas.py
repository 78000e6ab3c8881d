"""A real primary with replicas on loopback, and three sentinels over them if asked for."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from tests.support.redis_server import RedisServer, free_port

HOST = "127.0.0.1"
SERVICE = "mesh"
READY_TIMEOUT_S = 15.0
FOLLOW_TIMEOUT_S = 60.0
"""A replica that changes its primary may have to wait for the sentinels, and for a whole copy."""

Run = Callable[..., Any]


def ask(port: int, *command: str | int) -> Any:
    """Return what the server on `port` answers to one command."""
    with redis.Redis(host=HOST, port=port, socket_timeout=5) as client:
        return cast("Run", client.execute_command)(*command)  # pyright: ignore[reportUnknownMemberType]


def info(port: int, section: str) -> Mapping[str, Any]:
    """Return a section of what the server on `port` says about itself."""
    return cast("Mapping[str, Any]", ask(port, "INFO", section))


def until(fact: Callable[[], bool], *, what: str, timeout: float = READY_TIMEOUT_S) -> None:
    """Return once `fact` holds; for use outside of an event loop, or where it may stand still."""
    end = time.monotonic() + timeout
    while True:
        try:
            if fact():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


class RedisReplicas:
    """`servers[0]` begins as the primary, the others follow it."""

    def __init__(self, directory: Path, *, replicas: int = 1) -> None:
        self.servers = [RedisServer(directory / f"server{number}") for number in range(1 + replicas)]

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self.stop)
            options = {"--repl-diskless-sync-delay": "0", "--repl-ping-replica-period": "1"}
            for server in self.servers:
                server.start(aof=True, options=options)
            for server in self.servers[1:]:
                ask(server.port, "REPLICAOF", HOST, self.servers[0].port)
            self.wait_following(self.servers[0], count=len(self.servers) - 1)
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End every server. Idempotent."""
        for server in self.servers:
            server.stop()

    @staticmethod
    def wait_following(primary: RedisServer, *, count: int) -> None:
        """Return once `count` replicas follow `primary` and confirm what is written."""
        until(
            lambda: _confirming(primary.port, count) >= count, what=f"{count} replicas follow", timeout=FOLLOW_TIMEOUT_S
        )


class RedisSentinels:
    """Three sentinels that watch one primary and its replicas."""

    def __init__(self, directory: Path, primary: RedisServer, *, down_after_ms: int = 500) -> None:
        self.ports = [free_port() for _ in range(3)]
        self._directory = directory
        self._primary = primary
        self._down_after_ms = down_after_ms
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self.stop)
            for port in self.ports:
                self._start(port)
            for port in self.ports:
                until(partial(self._is_whole, port), what=f"the sentinel on {port} sees the others")
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End every sentinel. Idempotent."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=10)
        self._processes.clear()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in self.ports)}/{SERVICE}/0"

    def stop_one(self) -> None:
        """End the sentinel that a URL names first."""
        process = self._processes.pop(0)
        process.terminate()
        process.wait(timeout=10)

    def primary_port(self) -> int:
        """Return where the sentinels say the primary is."""
        return int(ask(self.ports[-1], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def name(self, primary: RedisServer) -> None:
        """Have every sentinel name this server the primary, whatever it thought before; nobody tells the old one."""
        for port in self.ports:
            ask(port, "SENTINEL", "REMOVE", SERVICE)
            ask(port, "SENTINEL", "MONITOR", SERVICE, HOST, primary.port, 2)

    def wait_failover(self, old: RedisServer, servers: Sequence[RedisServer]) -> RedisServer:
        """Return the server that took over, once it takes writes and the sentinels name it."""
        until(lambda: self.primary_port() != old.port, what="the sentinels name another primary")
        port = self.primary_port()
        until(lambda: info(port, "replication")["role"] == "master", what="it takes writes")
        return next(server for server in servers if server.port == port)

    def _start(self, port: int) -> None:
        folder = self._directory / f"sentinel{port}"
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor {SERVICE} {HOST} {self._primary.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        with (folder / "sentinel.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    ["redis-server", str(config), "--sentinel"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            )

    def _is_whole(self, port: int) -> bool:
        fields: Mapping[Any, Any] = ask(port, "SENTINEL", "MASTER", SERVICE)
        return int(fields[b"num-other-sentinels"]) == 2 and int(fields[b"num-slaves"]) >= 1


def _confirming(port: int, count: int) -> int:
    """Return how many replicas confirm a write; one that is online may still not be sent any for a second."""
    with redis.Redis(host=HOST, port=port, socket_timeout=5, single_connection_client=True) as client:
        run = cast("Run", client.execute_command)  # pyright: ignore[reportUnknownMemberType]
        run("SET", "probe", 1)
        confirmed: int = run("WAIT", count, 1000)
        run("DEL", "probe")
        run("WAIT", count, 1000)
        return confirmed
