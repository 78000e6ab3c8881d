"""The network between a node and Redis fails in each of the ways it can; nothing hangs, and the node comes back."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from meshd import Mesh, TaskState
from meshd.errors import UnavailableError
from tests.faults.scene import LEASE_S, SOON, SWEEP_S, TIMEOUT_S, Ledger, a_worker, settings, steps, until_alive
from tests.support.proxy import Direction, Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

BACK_S = 3.0


@pytest.mark.parametrize("directions", [[Direction.REQUESTS], [Direction.ANSWERS], list(Direction)])
async def test_a_half_open_network_ends_every_call_in_time(proxy: Proxy, directions: Sequence[Direction]) -> None:
    async with Mesh(proxy.url, settings=settings()) as mesh:
        await mesh.tasks.submit("nobody")
        proxy.stall(*directions)
        began = time.monotonic()
        calls = [mesh.tasks.submit("nobody"), mesh.tasks.counts(), mesh.nodes.list(), mesh.events.latest("tasks")]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, UnavailableError) for answer in answers), answers
        assert time.monotonic() - began < 2 * TIMEOUT_S + 1
        await proxy.mend()
        assert (await mesh.tasks.submit("nobody")).receipt is not None


@pytest.mark.parametrize("directions", [[], [Direction.REQUESTS], [Direction.ANSWERS]])
async def test_work_of_a_node_cut_from_redis_goes_to_another_and_the_node_comes_back(
    server: RedisServer, mesh: Mesh, proxy: Proxy, ledger: Ledger, directions: Sequence[Direction]
) -> None:
    """Without a direction the cut is seen at once; otherwise connections stay open and nothing comes through."""
    far = Ledger()
    ledger.go_on.set()
    async with a_worker("far", far, concurrency=2).running(proxy.url, settings=settings()):
        handles = [await mesh.tasks.submit("hold") for _ in range(2)]
        await wait_until(lambda: len(far.began) == 2)
        before = (await mesh.nodes.get("far")).incarnation
        async with a_worker("near", ledger).running(server.url, settings=settings()):
            began = time.monotonic()
            if directions:
                proxy.stall(*directions)
            else:
                await proxy.cut()
            await wait_until(lambda: len(ledger.began) == 2, timeout=20)
            assert time.monotonic() - began < LEASE_S + SWEEP_S + 2
            far.go_on.set()
            assert [await handle.result(timeout=SOON) for handle in handles] == ["near attempt 2"] * 2
            mended = time.monotonic()
            await proxy.mend()
            # Cut from the store only, it is reached over its links and so keeps its incarnation.
            await until_alive(mesh, "far", after=before - 1)
            assert time.monotonic() - mended < BACK_S
    assert sorted(await steps(mesh, "completed")) == sorted(handle.id for handle in handles)


async def test_a_slow_network_takes_no_task_from_anybody(mesh: Mesh, proxy: Proxy, ledger: Ledger) -> None:
    async with a_worker("n1", ledger).running(proxy.url, settings=settings()):
        await until_alive(mesh, "n1")
        proxy.delay_s = 0.1
        handles = [await mesh.tasks.submit("work", ms=number % 50) for number in range(24)]
        async for task in mesh.tasks.as_ended(handles, timeout=SOON):
            assert (task.state, task.starts) == (TaskState.COMPLETED, 1)
        await proxy.mend()
    assert await steps(mesh, "reclaimed") == []
    log = await mesh.events.read("nodes", limit=1_000)
    assert [entry.body["event"] for entry in log if entry.body["event"] == "dead"] == []
