"""The ports on one Redis, opened together."""

import logging
from time import monotonic

from meshd.backends.port import Backend, BackendHealth, BackendOptions
from meshd.backends.redis.connection import Connection
from meshd.backends.redis.durability import DurabilityProbe
from meshd.backends.redis.events import RedisEventBus
from meshd.backends.redis.nodes import RedisNodeStore
from meshd.backends.redis.records import RedisRecordStore
from meshd.backends.redis.tasks import RedisTaskStore

logger = logging.getLogger(__name__)


class RedisBackend:
    """`Backend` on Redis or Valkey, 6.2 or later."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._durability = DurabilityProbe(connection)
        self.events = RedisEventBus(connection)
        self.nodes = RedisNodeStore(connection)
        self.records = RedisRecordStore(connection)
        self.tasks = RedisTaskStore(connection, durability=self._durability)

    async def health(self) -> BackendHealth:
        started = monotonic()
        await self._connection.command("PING", retry=False)
        latency_ms = (monotonic() - started) * 1000
        server = await self._connection.info("server")
        return BackendHealth(
            url=self._connection.url,
            kind="redis_distributed",
            version=str(server["redis_version"]),
            latency_ms=latency_ms,
            durability=await self._durability.level(),
        )

    async def aclose(self) -> None:
        await self._connection.aclose()


async def open_backend(url: str, options: BackendOptions) -> Backend:
    """Return the mesh of `options` on the Redis at `url`.

    Raises:
        ConfigurationError: the URL or its password is wrong.
        StoreUnreachableError: nothing answers there within the timeout.
    """
    connection = Connection(url, options)
    try:
        await connection.open()
        await _warn_of_eviction(connection)
    except BaseException:
        await connection.aclose()
        raise
    return RedisBackend(connection)


async def _warn_of_eviction(connection: Connection) -> None:
    policy = (await connection.info("memory")).get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        logger.warning(
            "redis at %s may evict tasks: set maxmemory-policy to noeviction, it is %s", connection.url, policy
        )
