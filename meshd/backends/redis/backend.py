"""The ports on one Redis, opened together."""

from time import monotonic

from meshd.backends.port import Backend, BackendHealth, BackendOptions
from meshd.backends.redis.durability import DurabilityProbe
from meshd.backends.redis.memory import RedisMemoryStore
from meshd.backends.redis.nodes import RedisNodeStore
from meshd.backends.redis.opening import AnyConnection, TaskPorts, connect, task_ports
from meshd.backends.redis.records import RedisRecordStore


class RedisBackend:
    """`Backend` on Redis or Valkey, 6.2 or later."""

    def __init__(self, connection: AnyConnection, ports: TaskPorts, durability: DurabilityProbe) -> None:
        self._connection = connection
        self._ports = ports
        self._durability = durability
        self.events = ports.events
        self.memory = RedisMemoryStore(connection)
        self.nodes = RedisNodeStore(connection)
        self.records = RedisRecordStore(connection)
        self.tasks = ports.tasks

    async def health(self) -> BackendHealth:
        started = monotonic()
        await self._connection.command("PING", retry=False)
        latency_ms = (monotonic() - started) * 1000
        alarms = await self._durability.alarms()
        footings = await self._connection.footings()
        return BackendHealth(
            url=self._connection.url,
            kind="redis_distributed",
            version=footings[0].version,
            latency_ms=latency_ms,
            durability=await self._durability.level(),
            replicas=min(footing.replicas for footing in footings),
            alarms=alarms,
        )

    async def aclose(self) -> None:
        await self._ports.aclose()
        await self._connection.aclose()


async def open_backend(url: str, options: BackendOptions) -> Backend:
    """Return the mesh of `options` on the Redis at `url`.

    Raises:
        ConfigurationError: the URL or its password is wrong, or the server may lose what it should keep.
        StoreReadOnlyError: it is a replica.
        StoreUnreachableError: nothing answers there within the timeout.
    """
    connection = await connect(url, options)
    try:
        durability = DurabilityProbe(connection)
        ports = await task_ports(connection, durability)
    except BaseException:
        await connection.aclose()
        raise
    return RedisBackend(connection, ports, durability)
