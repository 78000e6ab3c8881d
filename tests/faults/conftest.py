"""A Redis of the test's own, to be hurt; a proxy in front of it; a mesh that looks at it directly."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshd import Mesh
from tests.chaos.client import audit
from tests.faults.scene import Ledger, settings
from tests.support.proxy import Proxy, proxied
from tests.support.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start(aof=True)
    yield server
    server.stop()


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with proxied(server.port) as proxy:
        yield proxy


@pytest.fixture
async def mesh(server: RedisServer) -> AsyncIterator[Mesh]:
    """What the test leaves behind must stand the store's own audit."""
    async with Mesh(server.url, settings=settings()) as opened:
        yield opened
        assert (await audit(opened))[1] == []


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()
