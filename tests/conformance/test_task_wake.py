"""Bells: a claimer that waits is rung by the submit it can serve."""

import asyncio

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import Outcome, TaskState, Wake
from tests.conftest import OpenAgain
from tests.support.builders import (
    LEASE_MS,
    LONG_MS,
    a_claimer,
    a_task,
    answer_bell,
    claim_all,
    claim_one,
    failed,
    get_one,
    hold_of,
    rung,
    start_one,
    submit_one,
)


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
        wake = waiting.result()
    assert wake.rang
    assert len([*wake.tasks, *await claim_all(backend, claimer)]) == 1


async def test_a_bell_rung_before_the_wait_is_not_lost(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    await submit_one(other, a_task())
    assert len(await answer_bell(backend, claimer)) == 1


async def test_waiting_ends_without_a_bell_when_the_time_is_over(backend: Backend) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    assert await backend.tasks.wait_for_work(claimer, timeout_ms=50) == Wake()


async def test_only_as_many_claimers_are_woken_as_there_are_tasks(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    claimers = [a_claimer(f"n{number}") for number in range(5)]
    for claimer in claimers:
        assert await claim_all(backend, claimer, limit=1) == []
    await other.tasks.submit([a_task(), a_task()])
    assert sum(await rung(backend, *claimers)) == 2


async def test_a_claimer_is_not_woken_by_a_task_it_cannot_serve(backend: Backend) -> None:
    cannot, can = a_claimer("n1"), a_claimer("n2", holds=["gpu"])
    for claimer in (cannot, can):
        assert await claim_all(backend, claimer) == []
    await submit_one(backend, a_task(requires=["gpu"]))
    assert await rung(backend, cannot, can) == [False, True]


async def test_a_claimer_that_got_all_it_asked_for_is_not_registered_as_waiting(backend: Backend) -> None:
    full, hungry = a_claimer("n1"), a_claimer("n2")
    await submit_one(backend, a_task())
    await claim_one(backend, full)
    assert await claim_all(backend, hungry) == []
    await submit_one(backend, a_task())
    assert await rung(backend, full, hungry) == [False, True]


async def test_a_woken_claimer_is_rung_again_for_the_next_task(backend: Backend) -> None:
    claimer = a_claimer()
    for _ in range(3):
        assert await claim_all(backend, claimer) == []
        new = a_task()
        await submit_one(backend, new)
        assert [task.id for task in await answer_bell(backend, claimer, limit=1)] == [new.id]


async def test_a_delayed_task_rings_when_it_is_promoted(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    await submit_one(backend, a_task(delay_ms=500))
    clock.advance(ms=600)
    await backend.tasks.sweep()
    assert len(await answer_bell(backend, claimer)) == 1


async def test_a_task_given_back_rings_another_claimer(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend, a_claimer("n1"))
    other = a_claimer("n2")
    assert await claim_all(backend, other) == []
    await backend.tasks.finish([failed(task, retry_in_ms=0)])
    assert [found.id for found in await answer_bell(backend, other)] == [task.id]


async def test_closing_the_backend_ends_a_waiting_call(open_again: OpenAgain) -> None:
    backend = await open_again()
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=60_000))
    await asyncio.sleep(0)
    await backend.aclose()
    done, _ = await asyncio.wait([waiting], timeout=5)
    assert waiting in done
    assert waiting.cancelled() or waiting.exception() or waiting.result() == Wake()


async def test_a_cancelled_wait_leaves_the_backend_usable(backend: Backend) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    for _ in range(5):
        waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=60_000))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    await submit_one(backend, a_task())
    assert len(await answer_bell(backend, claimer)) == 1


async def test_tasks_handed_over_with_the_bell_are_claimed_for_the_waiting_claimer(
    backend: Backend, clock: ManualClock
) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer, limit=2) == []
    clock.advance(ms=700)
    news = [a_task() for _ in range(5)]
    await backend.tasks.submit(news)
    wake = await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS)
    assert wake.rang
    assert len(wake.tasks) <= 2
    for task in wake.tasks:
        assert (task.state, task.node_id, task.incarnation) == (TaskState.CLAIMED, "n1", 1)
        assert task.lease_until_ms == clock() + LEASE_MS
        assert await get_one(backend, task.id) == task
        assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.OK]
    rest = await claim_all(backend, claimer)
    assert [task.id for task in [*wake.tasks, *rest]] == [new.id for new in news]


async def test_what_was_handed_over_comes_with_the_next_claim_too(backend: Backend) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer, limit=3) == []
    news = [a_task() for _ in range(4)]
    await backend.tasks.submit(news)
    found = [await claim_all(backend, claimer, limit=limit) for limit in (1, 2, 5)]
    assert [len(tasks) for tasks in found] == [1, 2, 1]
    assert {task.id for tasks in found for task in tasks} == {new.id for new in news}


async def test_a_cancelled_wait_drops_nothing_that_was_handed_over(backend: Backend) -> None:
    claimer = a_claimer()
    for _ in range(5):
        assert await claim_all(backend, claimer) == []
        waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=60_000))
        await asyncio.sleep(0)
        new = a_task()
        await submit_one(backend, new)
        waiting.cancel()
        await asyncio.wait([waiting])
        answered = [] if waiting.cancelled() else list(waiting.result().tasks)
        found = [*answered, *await claim_all(backend, claimer)]
        assert [task.id for task in found] == [new.id]


async def test_what_was_handed_over_and_never_read_is_taken_back_uncharged(
    backend: Backend, clock: ManualClock
) -> None:
    await backend.tasks.sweep()
    new = a_task()
    assert await claim_all(backend, a_claimer()) == []
    await submit_one(backend, new)
    for _ in range(LEASE_MS // 1_000 + 1):
        clock.advance(ms=1_000)
        await backend.tasks.sweep()
    task = await claim_one(backend, a_claimer("n2"))
    assert (task.id, task.crashes, task.errors) == (new.id, 0, ())


async def test_what_was_handed_over_and_given_back_is_not_answered_any_more(backend: Backend) -> None:
    claimer, new = a_claimer(), a_task()
    assert await claim_all(backend, claimer) == []
    await submit_one(backend, new)
    await backend.tasks.reconcile(claimer, known=[])
    assert [task.id for task in await claim_all(backend, a_claimer("n2"))] == [new.id]
    assert (await backend.tasks.wait_for_work(claimer, timeout_ms=50)).tasks == ()
    assert await claim_all(backend, claimer) == []
