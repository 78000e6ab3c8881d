"""Redis stands still for longer than a lease, or dies under load: no live owner loses a task, and work goes on."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from meshd import Mesh, Settings, TaskState
from meshd.errors import UnavailableError
from meshd.tasks.request import TaskRequest
from tests.faults.scene import MESH, SLOW_LOAD, SOON, Ledger, a_worker, settings, steps
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

SHORT_LEASE_S = 1.0
SHORT_LEASE = {"lease_seconds": SHORT_LEASE_S, "renew_seconds": 0.3}


async def dead_nodes(mesh: Mesh) -> list[str]:
    return [
        entry.body["node"] for entry in await mesh.events.read("nodes", limit=1_000) if entry.body["event"] == "dead"
    ]


async def test_a_redis_frozen_for_three_leases_costs_no_live_owner_a_task(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    async with AsyncExitStack() as stack:
        for name in ("n1", "n2"):
            await stack.enter_async_context(
                a_worker(name, ledger, concurrency=10).running(server.url, settings=settings(**SHORT_LEASE))
            )
        handles = [await mesh.tasks.submit("hold") for _ in range(20)]
        await wait_until(lambda: len(ledger.began) == 20)
        server.freeze()
        await asyncio.sleep(3 * SHORT_LEASE_S)
        server.thaw()
        thawed_ms = time.time_ns() // 1_000_000
        for handle in handles:

            async def is_renewed(handle_id: str = handle.id) -> bool:
                task = await mesh.tasks.get(handle_id)
                return task.lease_until_ms > thawed_ms + 1_000 * SHORT_LEASE_S

            await wait_until(is_renewed)
        ledger.go_on.set()
        results = [await handle.result(timeout=SOON) for handle in handles]
    assert {result.partition(" ")[2] for result in results} == {"attempt 1"}
    assert await steps(mesh, "reclaimed") == []
    assert await dead_nodes(mesh) == []


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
async def test_work_goes_on_soon_after_each_kill_of_redis_and_nothing_is_lost(
    server: RedisServer, mesh: Mesh, ledger: Ledger, kills: int
) -> None:
    acknowledged: list[str] = []
    stopped = asyncio.Event()

    async def submit_all_the_time() -> None:
        number = 0
        while not stopped.is_set():
            try:
                handle = await mesh.tasks.submit("work", number=number, ms=5, idempotency_key=f"request {number}")
            except UnavailableError:
                continue
            acknowledged.append(handle.id)
            number += 1
            await asyncio.sleep(0.002)

    async with a_worker("n1", ledger).running(server.url, settings=settings()), asyncio.TaskGroup() as group:
        group.create_task(submit_all_the_time())
        for _ in range(kills):
            done = len(ledger.ended)
            await wait_until(lambda: len(ledger.ended) >= done + 100, timeout=20)  # noqa: B023 -- called before it changes
            server.kill()
            await asyncio.to_thread(server.restart)
            answered, done = time.monotonic(), len(ledger.ended)
            await wait_until(lambda: len(ledger.ended) > done + 8)  # noqa: B023 -- called before it changes
            assert time.monotonic() - answered < 2
        stopped.set()
        async for task in mesh.tasks.as_ended([mesh.tasks.handle(task_id) for task_id in acknowledged], timeout=SOON):
            assert (task.state, task.crashes) == (TaskState.COMPLETED, 0)
    assert len(set(acknowledged)) == len(acknowledged)
    assert max(ledger.ended.values()) == 1
    assert await steps(mesh, "reclaimed") == []
    assert await dead_nodes(mesh) == []


async def test_calls_made_while_redis_is_loading_wait_for_it_and_work_resumes_at_once(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    for _ in range(8):
        await mesh.tasks.submit_many([TaskRequest(type="nobody") for _ in range(250)])
    async with (
        a_worker("n1", ledger).running(server.url, settings=settings()),
        Mesh(server.url, settings=Settings.load(mesh=MESH, store_timeout_seconds=30)) as patient,
    ):
        server.stop()
        restarting = asyncio.create_task(asyncio.to_thread(server.start, aof=True, options=SLOW_LOAD))
        await wait_until(lambda: server.is_loading)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(patient.tasks.submit("work", number=number)) for number in range(20)]
            await restarting
            ready = time.monotonic()
        handles = [call.result() for call in calls]
        assert [await handle.result(timeout=SOON) for handle in handles] == list(range(20))
        assert time.monotonic() - ready < 2
    assert (await mesh.tasks.counts())[TaskState.READY] == 2_000
