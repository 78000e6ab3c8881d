"""A mesh that is full says so: a submit is taken whole or refused whole, and nothing waiting is ever dropped."""

import asyncio
from dataclasses import replace

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.errors import BackpressureError
from meshd.tasks.model import Released, TaskState
from tests.conftest import OpenAgain
from tests.support.builders import (
    a_task,
    claim_all,
    claim_one,
    completed,
    failed,
    get_one,
    hold_of,
    start_one,
    submit_one,
)

SIZE = 5


@pytest.fixture
def options(options: BackendOptions) -> BackendOptions:
    return replace(options, queue_size=SIZE)


async def waiting(backend: Backend) -> int:
    counts = await backend.tasks.counts()
    return counts[TaskState.READY] + counts[TaskState.SCHEDULED] + counts[TaskState.BLOCKED]


async def fill(backend: Backend) -> None:
    await backend.tasks.submit([a_task(key=f"k{number}") for number in range(SIZE)])


async def test_a_queue_takes_exactly_as_many_as_it_may_hold(backend: Backend) -> None:
    for _ in range(SIZE):
        assert (await submit_one(backend, a_task())).created
    with pytest.raises(BackpressureError) as caught:
        await submit_one(backend, a_task())
    assert caught.value.retryable
    assert await waiting(backend) == SIZE


async def test_a_batch_that_does_not_fit_creates_nothing(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(3)])
    batch = [a_task(key=f"k{number}") for number in range(3)]
    with pytest.raises(BackpressureError):
        await backend.tasks.submit(batch)
    assert list(await backend.tasks.get([new.id for new in batch])) == [None] * 3
    assert await waiting(backend) == 3
    assert [receipt.created for receipt in await backend.tasks.submit(batch[:2])] == [True, True]


async def test_a_batch_larger_than_the_queue_never_fits(backend: Backend) -> None:
    with pytest.raises(BackpressureError):
        await backend.tasks.submit([a_task() for _ in range(SIZE + 1)])
    assert await waiting(backend) == 0


async def test_delayed_tasks_count_as_waiting(backend: Backend) -> None:
    await backend.tasks.submit([a_task(delay_ms=60_000) for _ in range(SIZE)])
    for delay_ms in (0, 60_000):
        with pytest.raises(BackpressureError):
            await submit_one(backend, a_task(delay_ms=delay_ms))


async def test_held_and_ended_tasks_do_not_count(backend: Backend) -> None:
    await fill(backend)
    claimed, running, done, *_ = await claim_all(backend)
    await backend.tasks.start([hold_of(running), hold_of(done)])
    await backend.tasks.finish([completed(done)])
    assert len(await backend.tasks.submit([a_task() for _ in range(SIZE)])) == SIZE
    with pytest.raises(BackpressureError):
        await submit_one(backend, a_task())
    assert (await get_one(backend, claimed.id)).state is TaskState.CLAIMED


async def test_each_task_taken_makes_room_for_one(backend: Backend) -> None:
    await fill(backend)
    for _ in range(3):
        await claim_one(backend)
        assert (await submit_one(backend, a_task())).created
        with pytest.raises(BackpressureError):
            await submit_one(backend, a_task())


async def test_a_cancel_and_an_expiry_make_room(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    news = [a_task(expires_in_ms=600), *(a_task() for _ in range(SIZE - 1))]
    await backend.tasks.submit(news)
    clock.advance(ms=601)
    await backend.tasks.sweep()
    await backend.tasks.cancel(news[1].id, reason="no")
    assert len(await backend.tasks.submit([a_task(), a_task()])) == 2
    with pytest.raises(BackpressureError):
        await submit_one(backend, a_task())


async def test_repeats_are_answered_when_the_queue_is_full(backend: Backend) -> None:
    news = [a_task(key=f"k{number}") for number in range(SIZE)]
    await backend.tasks.submit(news)
    assert not any(receipt.created for receipt in await backend.tasks.submit(news))
    receipt = await submit_one(backend, a_task(key="k3"))
    assert (receipt.task_id, receipt.created) == (news[3].id, False)


async def test_repeats_in_a_batch_take_no_room(backend: Backend) -> None:
    news = [a_task(key=f"k{number}") for number in range(SIZE - 1)]
    await backend.tasks.submit(news)
    receipts = await backend.tasks.submit([*news, a_task(key="last"), a_task(key="last"), a_task(key="k0")])
    assert [receipt.created for receipt in receipts] == [False] * (SIZE - 1) + [True, False, False]
    with pytest.raises(BackpressureError):
        await backend.tasks.submit([*news, a_task()])


async def test_what_is_given_back_is_never_refused(backend: Backend) -> None:
    await fill(backend)
    released, retried, delayed, crashed, dead = await claim_all(backend)
    await backend.tasks.start([hold_of(task) for task in (retried, delayed, crashed, dead)])
    await backend.tasks.submit([a_task() for _ in range(SIZE)])
    endings = [failed(retried), failed(delayed, retry_in_ms=500), failed(dead, retry_in_ms=None)]
    await backend.tasks.finish([Released(hold=hold_of(released)), *endings])
    await backend.tasks.redrive(dead.id)
    await backend.tasks.reclaim("n1", up_to_incarnation=1)
    assert await waiting(backend) == 2 * SIZE
    await claim_all(backend, limit=SIZE)
    with pytest.raises(BackpressureError):
        await submit_one(backend, a_task())


async def test_a_redriven_task_counts_as_waiting(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.finish([failed(task, retry_in_ms=None)])
    await backend.tasks.redrive(task.id)
    with pytest.raises(BackpressureError):
        await fill(backend)


async def test_many_submitters_at_once_fill_it_to_the_brim_and_no_further(
    backend: Backend, open_again: OpenAgain
) -> None:
    backends = [backend, *[await open_again() for _ in range(3)]]

    async def submit(number: int) -> bool:
        try:
            return (await submit_one(backends[number % 4], a_task())).created
        except BackpressureError:
            return False

    accepted = await asyncio.gather(*(submit(number) for number in range(40)))
    assert sum(accepted) == SIZE
    assert await waiting(backend) == SIZE


async def test_a_process_with_a_larger_queue_may_submit_more(
    backend: Backend, open_again: OpenAgain, options: BackendOptions
) -> None:
    await fill(backend)
    unlimited = await open_again(replace(options, queue_size=None))
    assert (await submit_one(unlimited, a_task())).created
    with pytest.raises(BackpressureError):
        await submit_one(backend, a_task())


async def test_blocked_tasks_count_towards_the_size(backend: Backend) -> None:
    parent = a_task()
    await backend.tasks.submit([parent, *(a_task(after=[parent.id]) for _ in range(SIZE - 1))])
    assert (await backend.tasks.counts())[TaskState.BLOCKED] == SIZE - 1
    with pytest.raises(BackpressureError):
        await submit_one(backend, a_task(after=[parent.id]))
    assert await waiting(backend) == SIZE
