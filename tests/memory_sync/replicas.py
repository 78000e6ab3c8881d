"""Replicas to test with: real files, a real hub, short intervals."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from meshd.backends import Backend, BackendOptions, open_replica
from meshd.clock import Clock, system_clock
from meshd.memory.access import Access, Author, Draft, Written
from meshd.memory.model import Item, MemoryLimits, Strategy
from meshd.memory.replication.gossip import Neighbourhood
from meshd.memory.replication.replica import Replica
from meshd.memory.sealing import Seal
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SyncOptions

SEAL = Seal("secret of the tests")
QUICK = SyncOptions(interval=timedelta(milliseconds=200), batch_delay=timedelta(milliseconds=5))


async def open_at(
    hub: MemoryStore,
    path: Path,
    *,
    node: str,
    backend: Backend | None = None,
    options: SyncOptions = QUICK,
    clock: Clock = system_clock,
    around: Neighbourhood | None = None,
) -> Replica:
    """Return a started replica whose file is at `path`."""
    stamper = Stamper(SEAL, clock)
    limits = MemoryLimits(max_drift_ms=2**50)
    file = await open_replica(path, replace(BackendOptions(memory=limits), clock=stamper.now_ms))
    events = backend.events if backend else None
    replica = Replica(hub, file, stamper, node=node, events=events, options=options, around=around)
    await replica.start()
    return replica


@asynccontextmanager
async def replica_of(
    backend: Backend, path: Path, *, node: str, options: SyncOptions = QUICK, clock: Clock = system_clock
) -> AsyncGenerator[Replica]:
    """A replica of this backend's memory for the length of the block."""
    replica = await open_at(backend.memory, path, node=node, backend=backend, options=options, clock=clock)
    try:
        yield replica
    finally:
        await replica.aclose()


def draft(key: str, text: str, *, over: Item = (), node: str = "", priority: int = 5) -> Draft:
    """Return a write of a text."""
    return Draft(key=key, body=lambda _: text.encode(), over=over, priority=priority, author=Author(node=node))


async def put(
    access: Access, key: str, text: str, *, strategy: Strategy = Strategy.EVENTUAL, priority: int = 5
) -> Written:
    """Write a text over what is there."""
    item = (await access.read([key]))[0]
    node = access.node if isinstance(access, Replica) else ""
    return (await access.write([draft(key, text, over=item, node=node, priority=priority)], strategy=strategy))[0]


async def delete(access: Access, key: str) -> Written:
    """Delete what is there."""
    item = (await access.read([key]))[0]
    return (await access.write([Draft(key=key, body=None, over=item)], strategy=Strategy.EVENTUAL))[0]


async def texts(access: Access, key: str) -> Sequence[str]:
    """Return the live texts of a key."""
    now_ms = await access.now_ms()
    item = (await access.read([key]))[0]
    return [version.body.decode() for version in item if version.is_live(now_ms)]


async def text(access: Access, key: str) -> str | None:
    """Return the only live text of a key."""
    found = await texts(access, key)
    assert len(found) < 2, f"{key} has {found}"
    return found[0] if found else None
