"""Nodes and meshes on real stores, with timings short enough to watch."""

from collections.abc import AsyncIterator

import pytest

from meshd import Mesh, Settings


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return Settings.load(
        mesh=mesh_name,
        heartbeat_interval_seconds=0.1,
        node_timeout_seconds=1.0,
        tasks={"lease_seconds": 2.0, "renew_seconds": 0.5, "sweep_seconds": 0.1, "poll_seconds": 0.5},
        task_distribution={"retry_backoff_seconds": 0.01, "retry_jitter": False},
    )


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened:
        yield opened
