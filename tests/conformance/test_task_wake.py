"""Bells: a claimer that waits is rung by the submit it can serve."""

import asyncio

from meshd.backends import Backend
from meshd.clock import ManualClock
from tests.conftest import OpenAgain
from tests.support.builders import a_claimer, a_task, claim_all, claim_one, failed, start_one, submit_one

LONG_MS = 10_000
SHORT_MS = 400


async def test_a_waiting_claimer_is_woken_by_a_submit_from_another_process(
    backend: Backend, open_again: OpenAgain
) -> None:
    other = await open_again()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    async with asyncio.timeout(LONG_MS / 2_000):
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS))
            await submit_one(other, a_task())
        assert waiting.result() is True
    assert len(await claim_all(backend, claimer)) == 1


async def test_a_bell_rung_before_the_wait_is_not_lost(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    await submit_one(other, a_task())
    async with asyncio.timeout(LONG_MS / 2_000):
        assert await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS) is True


async def test_waiting_ends_without_a_bell_when_the_time_is_over(backend: Backend) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    assert await backend.tasks.wait_for_work(claimer, timeout_ms=50) is False


async def test_only_as_many_claimers_are_woken_as_there_are_tasks(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    claimers = [a_claimer(f"n{number}") for number in range(5)]
    for claimer in claimers:
        assert await claim_all(backend, claimer, limit=1) == []
    await other.tasks.submit([a_task(), a_task()])
    woken = await asyncio.gather(*(backend.tasks.wait_for_work(c, timeout_ms=SHORT_MS) for c in claimers))
    assert sum(woken) == 2


async def test_a_claimer_is_not_woken_by_a_task_it_cannot_serve(backend: Backend) -> None:
    cannot, can = a_claimer("n1"), a_claimer("n2", holds=["gpu"])
    for claimer in (cannot, can):
        assert await claim_all(backend, claimer) == []
    await submit_one(backend, a_task(requires=["gpu"]))
    woken = await asyncio.gather(*(backend.tasks.wait_for_work(c, timeout_ms=SHORT_MS) for c in (cannot, can)))
    assert woken == [False, True]


async def test_a_claimer_that_got_all_it_asked_for_is_not_registered_as_waiting(backend: Backend) -> None:
    full, hungry = a_claimer("n1"), a_claimer("n2")
    await submit_one(backend, a_task())
    await claim_one(backend, full)
    assert await claim_all(backend, hungry) == []
    await submit_one(backend, a_task())
    woken = await asyncio.gather(*(backend.tasks.wait_for_work(c, timeout_ms=SHORT_MS) for c in (full, hungry)))
    assert woken == [False, True]


async def test_a_woken_claimer_is_rung_again_for_the_next_task(backend: Backend) -> None:
    claimer = a_claimer()
    for _ in range(3):
        assert await claim_all(backend, claimer) == []
        await submit_one(backend, a_task())
        assert await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS) is True
        assert len(await claim_all(backend, claimer, limit=1)) == 1


async def test_a_delayed_task_rings_when_it_is_promoted(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    await submit_one(backend, a_task(delay_ms=500))
    clock.advance(ms=600)
    await backend.tasks.sweep()
    assert await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS) is True


async def test_a_task_given_back_rings_another_claimer(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend, a_claimer("n1"))
    other = a_claimer("n2")
    assert await claim_all(backend, other) == []
    await backend.tasks.finish([failed(task, retry_in_ms=0)])
    assert await backend.tasks.wait_for_work(other, timeout_ms=LONG_MS) is True


async def test_closing_the_backend_ends_a_waiting_call(open_again: OpenAgain) -> None:
    backend = await open_again()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=60_000))
    await asyncio.sleep(0)
    await backend.aclose()
    done, _ = await asyncio.wait([waiting], timeout=5)
    assert waiting in done
    assert waiting.cancelled() or waiting.exception() or waiting.result() is False


async def test_a_cancelled_wait_leaves_the_backend_usable(backend: Backend) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    for _ in range(5):
        waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=60_000))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    await submit_one(backend, a_task())
    assert len(await claim_all(backend, claimer)) == 1
