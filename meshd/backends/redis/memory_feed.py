"""The feed of the memory: what the scripts publish as they change items."""

from time import monotonic
from typing import Any

from redis.asyncio.connection import AbstractConnection

from meshd.backends.redis import memory_scripts as scripts
from meshd.backends.redis.connection import read_within, translated
from meshd.backends.redis.link import Link
from meshd.backends.redis.memory_codec import change_of
from meshd.memory.model import Change


class RedisFeed:
    """Changes over a connection of its own, opened again when it breaks."""

    def __init__(self, store: Link) -> None:
        self._store = store
        self._connection: AbstractConnection | None = None
        self._generation = ""
        self._revision = 0

    async def open(self) -> None:
        """Subscribe; what was changed before is not told, though a cluster may bring it late."""
        await self._connect()
        clock = await scripts.clock(self._store)
        self._generation, self._revision = clock.generation, clock.revision

    async def get(self, *, timeout_ms: int) -> Change | None:
        end = monotonic() + timeout_ms / 1000
        while True:
            change = await self._next(max(0.0, end - monotonic()))
            if change is None or change.generation != self._generation or change.revision > self._revision:
                return change

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._store.take_back(connection)

    async def _connect(self) -> AbstractConnection:
        if self._connection is not None:
            return self._connection
        connection = await self._store.lend()
        try:
            with translated(self._store.url):
                await connection.send_command("SUBSCRIBE", self._store.keys.feed())
                await connection.read_response()
        except BaseException:
            await self._store.take_back(connection)
            raise
        self._connection = connection
        return connection

    async def _next(self, timeout_s: float) -> Change | None:
        connection = await self._connect()
        try:
            with translated(self._store.url):
                message: Any = await read_within(connection, timeout_s)
        except BaseException:
            await self.aclose()
            raise
        return change_of(message[2]) if message is not None and message[0] == b"message" else None
