"""Redis did what was asked and its answer was lost on the way: nobody waits for a lease, nothing runs twice."""

import asyncio
import time
from collections.abc import Callable
from random import Random

import pytest

from meshd import Mesh, TaskState
from meshd.backends.redis import scripts
from meshd.tasks.request import TaskRequest
from tests.faults.scene import SOON, Ledger, a_worker, settings, steps, task_log, until_alive
from tests.support.proxy import Direction, Proxy
from tests.support.waiting import wait_until

LONG_LEASE = {"lease_seconds": 60.0, "renew_seconds": 0.5}
"""Whatever comes back sooner than this did not wait for its lease."""


def script(name: str) -> str:
    """Return what every call of the script carries on the wire."""
    return scripts.load(name, flagged=True).sha


def now_and_then(share: float) -> Callable[[], bool]:
    rng = Random(7)
    return lambda: rng.random() < share


async def test_a_lost_claim_is_given_back_in_under_two_seconds_uncharged(
    mesh: Mesh, proxy: Proxy, ledger: Ledger
) -> None:
    async with a_worker("n1", ledger, concurrency=1).running(proxy.url, settings=settings(**LONG_LEASE)):
        first = await mesh.tasks.submit("hold")
        await wait_until(lambda: ledger.began)
        second = await mesh.tasks.submit("work", number=7)
        proxy.lose_answer_once(script("task_claim"))
        ledger.go_on.set()
        await wait_until(lambda: proxy.lost_answers == 1)
        began = time.monotonic()
        assert await second.result(timeout=SOON) == 7
        assert time.monotonic() - began < 2
    assert await first.result() == "n1 attempt 1"
    task = await second.status()
    assert (task.claims, task.starts, task.failures, task.crashes) == (2, 1, 0, 0)
    assert await steps(mesh, "reclaimed") == []


async def test_work_handed_to_a_node_that_was_cut_off_is_given_back_in_under_two_seconds(
    mesh: Mesh, proxy: Proxy, ledger: Ledger
) -> None:
    async with a_worker("n1", ledger).running(proxy.url, settings=settings(**LONG_LEASE)):
        assert await (await mesh.tasks.submit("work", number=6)).result(timeout=SOON) == 6
        proxy.stall(Direction.ANSWERS)
        handle = await mesh.tasks.submit("work", number=7)
        await asyncio.sleep(0.3)
        proxy.reset()
        await proxy.mend()
        began = time.monotonic()
        assert await handle.result(timeout=SOON) == 7
        assert time.monotonic() - began < 2
    task = await handle.status()
    assert (task.failures, task.crashes, task.starts) == (0, 0, 1)


@pytest.mark.parametrize("name", ["task_claim", "task_start", "task_finish"])
async def test_answers_lost_again_and_again_cost_no_task_and_no_second_run(
    mesh: Mesh, proxy: Proxy, ledger: Ledger, name: str
) -> None:
    async with a_worker("n1", ledger).running(proxy.url, settings=settings(**LONG_LEASE)):
        await until_alive(mesh, "n1")
        proxy.lose_answers(script(name), should_cut=now_and_then(0.1))
        handles = [await mesh.tasks.submit("work", number=number, ms=number % 5) for number in range(200)]
        async for task in mesh.tasks.as_ended(handles, timeout=SOON):
            assert (task.state, task.failures, task.crashes) == (TaskState.COMPLETED, 0, 0)
        lost = proxy.lost_answers
        await proxy.mend()
    assert lost >= 2, f"only {lost} answers were lost: this has shown nothing"
    assert max(ledger.began.values()) == 1
    completions = await steps(mesh, "completed")
    assert sorted(completions) == sorted(handle.id for handle in handles)


async def test_a_submit_whose_answer_is_lost_makes_one_task(mesh: Mesh, proxy: Proxy) -> None:
    async with Mesh(proxy.url, settings=settings()) as cut_off:
        for number in range(20):
            proxy.lose_answer_once(script("task_submit"))
            handle = await cut_off.tasks.submit("nobody", number=number)
            assert (await mesh.tasks.get(handle.id)).state is TaskState.READY
        assert proxy.lost_answers == 20
        proxy.lose_answer_once(script("task_submit"))
        await cut_off.tasks.submit_many(TaskRequest(type="nobody") for _ in range(100))
    assert (await mesh.tasks.counts())[TaskState.READY] == 120
    assert len([entry for entry in await task_log(mesh) if entry["event"] == "submitted"]) == 120
