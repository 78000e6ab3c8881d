"""The stores of a run: where they are, how their server is killed, and what they index when all work is done."""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol, cast

import redis

from tests.chaos.history import STORE, Kill
from tests.support.leaks import MeshKeys
from tests.support.redis_server import RedisServer


class Store(Protocol):
    """One backend, as a run uses it."""

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int | None:
        """Where its server listens, if it has one."""
        ...

    async def kill(self) -> Kill: ...

    async def restart(self) -> None: ...

    def indexes(self, mesh: str) -> Mapping[str, int]:
        """Return how much is left in each place where only unfinished work may be."""
        ...

    def close(self) -> None: ...


def open_store(backend: str, directory: Path, *, fsync: str) -> Store:
    return RedisStore(directory, fsync=fsync) if backend == "redis" else SqliteStore(directory)


class SqliteStore:
    """One file; it has no server that could be killed."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "mesh.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self._path}"

    @property
    def port(self) -> None:
        return None

    async def kill(self) -> Kill:
        raise NotImplementedError("a file has no process to kill")

    async def restart(self) -> None:
        raise NotImplementedError("a file has no process to start")

    def indexes(self, mesh: str) -> Mapping[str, int]:
        unfinished = "FROM tasks JOIN meshes ON meshes.id = tasks.mesh WHERE meshes.name = ? AND"
        queries = {
            "tasks held": f"SELECT count(*) {unfinished} tasks.state IN ('claimed', 'running')",
            "tasks not ended": f"SELECT count(*) {unfinished} tasks.finished_ms IS NULL",
            "tasks ended with a lease": f"SELECT count(*) {unfinished} tasks.lease_until_ms > 0",
            "children": "SELECT count(*) FROM children JOIN meshes ON meshes.id = mesh WHERE meshes.name = ?",
            "ends untold": "SELECT count(*) FROM outbox JOIN meshes ON meshes.id = mesh WHERE meshes.name = ?",
        }
        with closing(sqlite3.connect(self._path)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            left = {place: int(connection.execute(query, (mesh,)).fetchone()[0]) for place, query in queries.items()}
        return {**left, "damage found by integrity_check": 0 if sound else 1}

    def close(self) -> None:
        return


class RedisStore:
    """A redis-server of the run's own that keeps an append-only file."""

    def __init__(self, directory: Path, *, fsync: str) -> None:
        self._server = RedisServer(directory / "redis")
        self._server.start(aof=True, options={"--appendfsync": fsync})

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    async def kill(self) -> Kill:
        at_ms = time.time_ns() // 1_000_000
        self._server.kill()
        return Kill(life=STORE, at_ms=at_ms)

    async def restart(self) -> None:
        await asyncio.to_thread(self._server.restart)

    def indexes(self, mesh: str) -> Mapping[str, int]:
        keys = MeshKeys(self.url, mesh)
        port = self._server.port
        with closing(redis.Redis(host="127.0.0.1", port=port, decode_responses=True)) as client:
            left: dict[str, int] = {}
            for key in keys.all():
                kind = key.partition("}:")[2].partition(":")[0]
                if kind in {"lease", "sched", "dl", "front", "kids", "outbox"}:
                    left[key] = client.zcard(key)
                elif kind == "held":
                    left[key] = client.scard(key)
                elif kind == "q":
                    groups = cast("Iterable[Mapping[str, int]]", client.xinfo_groups(key))
                    left[f"{key} entries"] = client.xlen(key)
                    left[f"{key} pending"] = sum(group["pending"] for group in groups)
        keys.close()
        return left

    def close(self) -> None:
        self._server.stop()
