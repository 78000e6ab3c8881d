"""A private Redis Cluster per measured run, counted as one store."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from benchmarks.lab.servers import Reading, cpu_of, reading_of, settle
from tests.support.redis_cluster import RedisCluster


class Cluster:
    """Some primaries without replicas or persistence, for the length of a block."""

    def __init__(self, folder: Path, *, primaries: int) -> None:
        self._cluster = RedisCluster(folder, primaries=primaries)
        self.url = self._cluster.url

    def __enter__(self) -> Self:
        self._cluster.start()
        self._clients: list[Any] = [cast("Any", redis.Redis)(port=server.port) for server in self._cluster.servers]
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        self._cluster.stop()

    def cpu_s(self) -> float:
        return sum(cpu_of(server.pid) for server in self._cluster.servers)

    def read(self) -> Reading:
        readings = [reading_of(client) for client in self._clients]
        return Reading(
            commands=sum(reading.commands for reading in readings),
            reads=sum(reading.reads for reading in readings),
            memory=sum(reading.memory for reading in readings),
            keys=sum(reading.keys for reading in readings),
        )

    def settle(self) -> None:
        settle(self._commands)

    def _commands(self) -> int:
        return sum(int(client.info("stats")["total_commands_processed"]) for client in self._clients)
