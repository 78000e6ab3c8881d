"""Replicas to measure: a real file each, a real hub, the default intervals unless said."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.memories.drafts import BODY, SEAL
from meshd.backends import Backend, BackendOptions, open_backend, open_replica
from meshd.memory.access import Draft
from meshd.memory.model import Strategy
from meshd.memory.replication.replica import Replica
from meshd.memory.stamping import Stamper
from meshd.memory.syncing import SyncOptions


@asynccontextmanager
async def hub_at(url: str) -> AsyncGenerator[Backend]:
    backend = await open_backend(url, BackendOptions())
    try:
        yield backend
    finally:
        await backend.aclose()


@asynccontextmanager
async def replica(
    backend: Backend, folder: Path, *, node: str, options: SyncOptions | None = None
) -> AsyncGenerator[Replica]:
    stamper = Stamper(SEAL)
    file = await open_replica(folder / f"{node}.db", BackendOptions())
    opened = Replica(backend.memory, file, stamper, node=node, events=backend.events, options=options)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.aclose()


def draft(key: str, body: bytes = BODY, *, priority: int = 5) -> Draft:
    return Draft(key=key, body=lambda _: body, over=(), priority=priority)


async def write(opened: Replica, prefix: str, count: int) -> None:
    """Write so many new keys, a hundred at a time."""
    for first in range(0, count, 100):
        drafts = [draft(f"{prefix}/{number}") for number in range(first, min(first + 100, count))]
        await opened.write(drafts, strategy=Strategy.EVENTUAL)
