"""Payloads of all sizes: what is too big never leaves the caller, what is big does not slow the others down."""

import asyncio
import time
from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from meshd.errors import PayloadTooLargeError
from meshd.tasks.request import TaskRequest
from tests.chaos.fleet import Fleet
from tests.faults.scene import MESH, SOON, Ledger, a_worker, settings
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer

MEBIBYTE = 1_048_576
P99_S = 0.05


async def test_a_payload_over_the_limit_is_refused_before_the_network(proxy: Proxy) -> None:
    async with Mesh(proxy.url, settings=settings()) as mesh:
        await mesh.tasks.counts()
        await proxy.cut()
        for size in (2 * MEBIBYTE, 64 * MEBIBYTE):
            with pytest.raises(PayloadTooLargeError) as caught:
                await mesh.tasks.submit("work", blob="x" * size)
            assert caught.value.size > size
            assert caught.value.limit == MEBIBYTE


async def test_one_oversized_task_among_many_submits_none_of_them(mesh: Mesh) -> None:
    requests = [TaskRequest(type="work", payload={"blob": "x" * size}) for size in (10, 10, 2 * MEBIBYTE)]
    with pytest.raises(PayloadTooLargeError):
        await mesh.tasks.submit_many(requests)
    assert not any((await mesh.tasks.counts()).values())


async def test_a_claim_of_many_big_tasks_is_cut_to_what_fits(server: RedisServer, mesh: Mesh, ledger: Ledger) -> None:
    handles = [await mesh.tasks.submit("work", number=number, blob="x" * 1_000_000) for number in range(48)]
    async with a_worker("n1", ledger, concurrency=48).running(server.url, settings=settings()):
        async for task in mesh.tasks.as_ended(handles, timeout=SOON):
            assert (task.state, task.starts) == (TaskState.COMPLETED, 1)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_small_tasks_stay_quick_beside_big_ones(
    server: RedisServer, mesh: Mesh, ledger: Ledger, tmp_path: Path
) -> None:
    blob = "x" * 1_000_000
    big = [await mesh.tasks.submit("slow", number=number, ms=1, context=blob) for number in range(200)]
    fleet = Fleet(url=server.url, mesh=MESH, directory=tmp_path, concurrency=16)
    took: list[float] = []
    try:
        async with a_worker("small", ledger).running(server.url, settings=settings()):
            fleet.start("big")
            ending = asyncio.create_task(big[-1].wait(timeout=5 * SOON))
            while not ending.done():
                began = time.monotonic()
                await (await mesh.tasks.submit("work")).result(timeout=SOON)
                took.append(time.monotonic() - began)
            assert (await ending).state is TaskState.COMPLETED
        await fleet.leave()
    finally:
        fleet.close()
    assert sorted(took)[len(took) * 99 // 100] < P99_S, took
