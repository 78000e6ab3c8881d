"""Partitions: the tasks of a mesh in K parts, each with a slot of its own, so that they spread over the primaries.

Invariant: where a task is kept follows from its id alone, and K never changes. Ids made for an idempotency key end as
the key says (`meshd.ids`), so tasks of one key meet in one partition.
"""

import logging
import zlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from redis.asyncio.connection import AbstractConnection

from meshd.backends.port import BackendOptions
from meshd.backends.redis.cluster import ClusterConnection
from meshd.backends.redis.footing import Footing
from meshd.backends.redis.keys import Keys
from meshd.backends.redis.lane import Lane
from meshd.backends.redis.link import Link
from meshd.errors import ConfigurationError
from meshd.ids import TAIL
from meshd.tasks.model import Durability

logger = logging.getLogger(__name__)

PER_PRIMARY = 8
"""Partitions for each primary a cluster has when a mesh is first opened on it."""
MAX_PARTITIONS = 256
PATIENCE = 5
"""In one partition of several a claimer stays registered this many times longer, since it polls them less often."""

CLAIM_S = 0.2
"""A claim waits no longer than this for a partition that is on its way to another primary."""


def partition_of(task_id: str, count: int) -> int:
    """Return the number of the partition a task is kept in."""
    return zlib.crc32(task_id[-TAIL:].encode()) % count


async def agreed(link: Link, *, wanted: int | None, usual: int) -> int:
    """Return how many partitions the mesh has: those it has had since it was first opened.

    Raises:
        ConfigurationError: `wanted` is out of bounds.
    """
    if wanted is not None and not 1 <= wanted <= MAX_PARTITIONS:
        raise ConfigurationError(f"{wanted} partitions: use 1 to {MAX_PARTITIONS}")
    key = link.keys.shape()
    kept = await link.command("HGET", key, "partitions")
    if kept is None:
        await link.command("HSETNX", key, "partitions", wanted or usual)
        kept = await link.command("HGET", key, "partitions")
    found = int(kept)
    if wanted is not None and found != wanted:
        logger.warning("mesh %s has %d partitions for good: the setting of %d is not used",
                       link.keys.mesh, found, wanted)  # fmt: skip
    return found


class Partition:
    """One partition's view of a link: its task keys, and its share of what a mesh may hold."""

    def __init__(self, link: Link, number: int, *, count: int) -> None:
        self._link = link
        self.url = link.url
        self.keys = Keys(link.keys.mesh, f"p{number}")
        self.options = _share(link.options, count)

    def now(self) -> str:
        return self._link.now()

    async def run(
        self,
        name: str,
        *,
        key: str,
        args: Sequence[str | bytes | int],
        retry: bool = True,
        confirm: Durability | None = None,
    ) -> Any:
        return await self._link.run(name, key=key, args=args, retry=retry, confirm=confirm)

    def saw(self, key: str, token: int) -> None:
        self._link.saw(key, token)

    async def footings(self, *, fresh: bool = False) -> Sequence[Footing]:
        return await self._link.footings(fresh=fresh)

    async def command(self, *command: str | bytes | int, retry: bool = True) -> Any:
        return await self._link.command(*command, retry=retry)

    async def peek(self, *command: str | bytes | int, retry: bool = True) -> Any:
        return await self._link.peek(*command, retry=retry)

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        return await self._link.pipeline(commands)

    async def lend(self) -> AbstractConnection:
        return await self._link.lend()

    async def take_back(self, connection: AbstractConnection) -> None:
        await self._link.take_back(connection)

    def waiting(self, key: str) -> AbstractAsyncContextManager[Lane]:
        return self._link.waiting(key)


class HurriedPartition(Partition):
    """A partition on a cluster, for claims: while it cannot be asked, there are others."""

    def __init__(self, cluster: ClusterConnection, number: int, *, count: int) -> None:
        super().__init__(cluster, number, count=count)
        self._cluster = cluster

    async def run(
        self,
        name: str,
        *,
        key: str,
        args: Sequence[str | bytes | int],
        retry: bool = True,
        confirm: Durability | None = None,
    ) -> Any:
        return await self._cluster.run(name, key=key, args=args, retry=retry, confirm=confirm, patience_s=CLAIM_S)

    async def peek(self, *command: str | bytes | int, retry: bool = True) -> Any:
        return await self._cluster.peek(*command, retry=retry, patience_s=CLAIM_S)


def _share(options: BackendOptions, count: int) -> BackendOptions:
    size = options.queue_size
    tasks = replace(options.tasks, poll_ms=PATIENCE * options.tasks.poll_ms)
    return replace(options, queue_size=None if size is None else max(1, -(-size // count)), tasks=tasks)
