"""A backend on the run's redis-server, and a direct look at its keys."""

from collections.abc import AsyncIterator, Iterator

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.redis.keys import Keys
from tests.redis_backend.raw import Raw, raw_commands
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes


@pytest.fixture
def keys(mesh_name: str) -> Keys:
    return Keys(mesh_name)


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[Raw]:
    """Commands of a client that knows nothing of meshd."""
    with raw_commands(redis_server.port) as commands:
        yield commands


@pytest.fixture
async def backend(redis_server: RedisServer, options: BackendOptions) -> AsyncIterator[Backend]:
    backend = await open_backend(redis_server.url, options)
    yield backend
    await backend.aclose()
    RedisMeshes(redis_server.url).finish(options.mesh)
