"""A node that is started while its store is away waits for it, and gives up only when its patience is over."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from meshd import Mesh
from meshd.errors import StoreUnreachableError
from meshd.tasks.request import TaskRequest
from tests.faults.scene import SLOW_LOAD, SOON, Ledger, a_worker, settings, until_alive
from tests.support.proxy import proxied
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_until


async def test_a_node_started_before_its_store_joins_once_it_is_there(
    tmp_path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path / "late")
    node = a_worker("early", ledger)
    with caplog.at_level(logging.WARNING, logger="meshd"):
        running = asyncio.create_task(node.run(server.url, settings=settings()))
        await wait_until(lambda: caplog.records or running.done())
    assert not running.done(), running
    await asyncio.to_thread(server.start)
    async with Mesh(server.url, settings=settings()) as mesh:
        await until_alive(mesh, "early")
        assert await (await mesh.tasks.submit("work", number=7)).result(timeout=SOON) == 7
    node.stop()
    await running
    server.stop()


async def test_a_node_started_while_its_store_refuses_connections_joins_when_it_takes_them(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    server.kill()
    async with proxied(server.port) as proxy:
        node = a_worker("patient", ledger)
        running = asyncio.create_task(node.run(proxy.url, settings=settings()))
        await wait_until(lambda: proxy.refused >= 3 or running.done())
        assert not running.done(), running
        await asyncio.to_thread(server.restart)
        await until_alive(mesh, "patient", timeout=5)
        node.stop()
        await running


async def test_a_node_started_while_its_store_is_loading_joins_when_it_has_loaded(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    for _ in range(8):
        await mesh.tasks.submit_many([TaskRequest(type="nobody") for _ in range(250)])
    server.stop()
    restarting = asyncio.create_task(asyncio.to_thread(server.start, aof=True, options=SLOW_LOAD))
    await wait_until(lambda: server.is_loading)
    node = a_worker("patient", ledger)
    running = asyncio.create_task(node.run(server.url, settings=settings()))
    await restarting
    await until_alive(mesh, "patient", timeout=2)
    node.stop()
    await running


async def test_a_node_gives_up_with_a_typed_error_when_its_patience_is_over(ledger: Ledger) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnreachableError):
        await a_worker("lonely", ledger).run(f"redis://127.0.0.1:{free_port()}/0", settings=settings(patience_s=1))
    assert 0.5 <= time.monotonic() - began < 5


async def test_a_node_that_waits_for_its_store_can_be_stopped(ledger: Ledger) -> None:
    node = a_worker("lonely", ledger)
    running = asyncio.create_task(node.run(f"redis://127.0.0.1:{free_port()}/0", settings=settings()))
    asyncio.get_running_loop().call_later(0.2, node.stop)
    async with asyncio.timeout(5):
        await running
