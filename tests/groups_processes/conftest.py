"""Stages on a real Redis, and one on every store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.groups_processes.stage import Stage, stage_on
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes


@pytest.fixture
def redis_mesh(redis_server: RedisServer, mesh_name: str) -> Iterator[str]:
    """The URL of a Redis for this test's mesh; what it leaves there is checked."""
    meshes = RedisMeshes(redis_server.url)
    yield meshes.url(mesh_name)
    meshes.finish(mesh_name)


@pytest.fixture
async def stage(redis_mesh: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_on(redis_mesh, mesh_name, tmp_path) as opened:
        yield opened


@pytest.fixture
async def any_stage(store_url: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The same on SQLite and on Redis."""
    async with stage_on(store_url, mesh_name, tmp_path) as opened:
        yield opened
