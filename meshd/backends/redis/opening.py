"""Opening a store: which kind of Redis a URL leads to, and how many partitions the mesh has there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import TypeVar

from meshd.backends import split_url
from meshd.backends.port import BackendOptions
from meshd.backends.redis.cluster import CLUSTER_MARK, ClusterConnection
from meshd.backends.redis.connection import Connection
from meshd.backends.redis.durability import DurabilityProbe
from meshd.backends.redis.ear import Ear
from meshd.backends.redis.events import RedisEventBus
from meshd.backends.redis.partitioned_events import PartitionedEventBus
from meshd.backends.redis.partitioned_tasks import PartitionedTaskStore
from meshd.backends.redis.partitions import PATIENCE, PER_PRIMARY, HurriedPartition, Partition, agreed
from meshd.backends.redis.rounds import Rounds
from meshd.backends.redis.tasks import RedisTaskStore
from meshd.events import EventBus
from meshd.tasks.store import TaskStore

AnyConnection = Connection | ClusterConnection
Opened = TypeVar("Opened", bound=AnyConnection)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPorts:
    """The ports that know of partitions."""

    tasks: TaskStore
    events: EventBus
    aclose: Callable[[], Awaitable[None]]
    """Ends every wait."""


async def connect(url: str, options: BackendOptions) -> AnyConnection:
    """Return open connections to the Redis at `url`, to all of its cluster if it is part of one.

    Raises:
        ConfigurationError: the URL is wrong, or the server cannot be used as asked.
        StoreUnreachableError: nothing answers there within the timeout.
    """
    if split_url(url).scheme.endswith(CLUSTER_MARK):
        return await _opened(ClusterConnection(url, options))
    connection = await _opened(Connection(url, options))
    if not any(footing.is_clustered for footing in await connection.footings()):
        return connection
    await connection.aclose()
    return await _opened(ClusterConnection(url, options))


async def task_ports(link: AnyConnection, durability: DurabilityProbe) -> TaskPorts:
    """Return the ports of the mesh's tasks and events, in as many partitions as it has."""
    usual = PER_PRIMARY * link.primaries if isinstance(link, ClusterConnection) else 1
    count = await agreed(link, wanted=link.options.partitions, usual=usual)
    if count == 1:
        return TaskPorts(
            tasks=RedisTaskStore(link, durability=durability), events=RedisEventBus(link), aclose=_nothing_waits
        )
    link.is_split = True
    views = [Partition(link, number, count=count) for number in range(count)]
    ear = Ear(link)
    parts = [RedisTaskStore(view, durability=durability) for view in views]
    claiming = parts
    if isinstance(link, ClusterConnection):
        hurried = (HurriedPartition(link, number, count=count) for number in range(count))
        claiming = [RedisTaskStore(view, durability=durability) for view in hurried]
    tasks = PartitionedTaskStore(parts, claiming=claiming, ear=ear, rounds=_rounds(link, count))
    return TaskPorts(
        tasks=tasks, events=PartitionedEventBus([RedisEventBus(view) for view in views]), aclose=tasks.aclose
    )


def _rounds(link: AnyConnection, count: int) -> Rounds:
    poll_ms = link.options.tasks.poll_ms
    clock = link.options.clock
    now_ms: Callable[[], float] = (lambda: monotonic() * 1000) if clock is None else clock
    # A claimer stays registered for twice its poll: it counts on one poll less.
    return Rounds(partitions=count, valid_ms=(2 * PATIENCE - 1) * poll_ms, now_ms=now_ms, chance=Random())


async def _opened(link: Opened) -> Opened:
    try:
        await link.open()
    except BaseException:
        await link.aclose()
        raise
    return link


async def _nothing_waits() -> None:
    return
