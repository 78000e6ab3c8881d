"""A node's share of the memory: its replica, and the service its handlers use."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from time import time_ns

from meshd.backends import open_replica
from meshd.backends.port import Backend, BackendOptions
from meshd.errors import ConfigurationError, CorruptDataError, MeshError, StoreReadOnlyError, StoreUnreachableError
from meshd.memory.access import Access, Author
from meshd.memory.hub_access import HubAccess
from meshd.memory.prefixes import rank_of
from meshd.memory.replication.gossip import Neighbourhood
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.replica import Replica
from meshd.memory.sealing import Seal
from meshd.memory.service import Memory
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore
from meshd.nodes.model import NodeProfile
from meshd.runtime.bridge import LinkBridge
from meshd.runtime.context import running_task
from meshd.runtime.state_dir import StateDir
from meshd.settings import Settings
from meshd.settings_memory import MemorySyncSettings

logger = logging.getLogger(__name__)

_SWEEP_S = 60.0
_FILES = 8
"""Processes of one name on one machine, the last of which is about to take the name over."""


@asynccontextmanager
async def memory_of(
    backend: Backend,
    profile: NodeProfile,
    *,
    options: BackendOptions,
    settings: Settings,
    silent_ms: Callable[[], int],
    bridge: LinkBridge | None = None,
) -> AsyncGenerator[Memory]:
    """The memory as this node reads and writes it, for the length of the block.

    `silent_ms` returns for how long the store has not answered this node: what is read meanwhile says so.
    """
    own = settings.memory_sync
    author = Author(node=profile.id, rank=rank_of(profile.type, own.source_priority))
    around = None if bridge is None else Neighbourhood(links=bridge, addresses=lambda: bridge.addresses)
    async with _access(backend, profile, options=options, settings=settings, around=around) as access:
        yield Memory.over(
            access,
            rules=own.rules(),
            author=author,
            is_compressing=own.compression_enabled,
            task_now=running_task.get,
            silent_ms=silent_ms,
        )


@asynccontextmanager
async def _access(
    backend: Backend,
    profile: NodeProfile,
    *,
    options: BackendOptions,
    settings: Settings,
    around: Neighbourhood | None,
) -> AsyncGenerator[Access]:
    own = settings.memory_sync
    seal = Seal(own.secret.get_secret_value())
    if not own.enabled:
        client = HubAccess(backend.memory, seal, options=own.sync_options(), holder=profile.id)
        sweeping = asyncio.create_task(_sweep(backend.memory), name="meshd memory sweep")
        try:
            yield client
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])
            await client.aclose()
        return
    stamper = Stamper(seal)
    file = await _open(StateDir(Path(settings.state_dir)), profile.id, options=_file_options(options, own, stamper))
    replica = Replica(
        backend.memory,
        file,
        stamper,
        node=profile.id,
        events=backend.events,
        options=own.sync_options(),
        around=around,
    )
    try:
        await replica.start()
        yield replica
    finally:
        await replica.aclose()


async def _sweep(store: MemoryStore) -> None:
    """Sweep the store now and then, as replicas do where there are any; any number of nodes may."""
    rng = Random()
    while True:
        await asyncio.sleep(_SWEEP_S * rng.uniform(0.5, 1.5))
        try:
            await store.sweep()
        except MeshError as exc:
            logger.debug("shared memory is not swept now: %s", exc)


def _file_options(options: BackendOptions, own: MemorySyncSettings, stamper: Stamper) -> BackendOptions:
    """Return how the file is opened: what the hub took is taken here, and judged by the hub's time."""
    limits = replace(own.limits(), max_items=2**53, max_bytes=2**53, max_drift_ms=2**52)
    return BackendOptions(mesh=options.mesh, memory=limits, timeout_ms=options.timeout_ms, clock=stamper.now_ms)


async def _open(state: StateDir, node: str, *, options: BackendOptions) -> ReplicaFile:
    """Return the node's file; the next one if a process that had the name before still has it open.

    A damaged file is put aside: what the hub has of it comes back.
    """
    for number in range(1, _FILES):
        path = state.memory_file(options.mesh, node, number=number)
        try:
            return await open_replica(path, options)
        except ConfigurationError:
            continue
        except (StoreReadOnlyError, StoreUnreachableError) as exc:
            raise ConfigurationError(
                f"node {node} cannot keep its replica of the shared memory: {exc}; give this user write access, set "
                "state_dir to another folder, or memory_sync.enabled to false"
            ) from exc
        except CorruptDataError as exc:
            aside = path.with_name(f"{path.name}.damaged-{time_ns()}")
            logger.error("%s; it is kept as %s", exc, aside)  # noqa: TRY400 -- a damaged file is no program error
            path.rename(aside)
            return await open_replica(path, options)
    return await open_replica(state.memory_file(options.mesh, node, number=_FILES), options)
