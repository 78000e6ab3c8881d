"""What a submit promises."""

from dataclasses import replace

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import InvalidArgumentError
from meshd.tasks.model import Durability, Priority, TaskPolicy, TaskState
from meshd.tasks.routing import OFFSETS_MS
from meshd.tasks.states import create
from meshd.tasks.store import MAX_BATCH
from tests.conftest import OpenAgain
from tests.support.builders import (
    a_claimer,
    a_task,
    claim_all,
    claim_one,
    completed,
    get_one,
    hold_of,
    meant_for,
    pinned_to,
    submit_one,
)


async def test_a_submitted_task_is_ready_and_kept_as_the_rules_create_it(backend: Backend, clock: ManualClock) -> None:
    new = a_task(requires=["gpu"], context=b"{}", priority=Priority.LOW, expires_in_ms=60_000, key="k1", watcher="ends")
    new = replace(
        new,
        preferred_types=("language_expert",),
        preferences=("zone=eu:3", "gpu"),
        placement=pinned_to("n9"),
        decision=b'{"chosen":"n9"}',
        policy=TaskPolicy(progress_timeout_ms=7_500),
    )
    receipt = await submit_one(backend, new)
    assert (receipt.task_id, receipt.created, receipt.state) == (new.id, True, TaskState.READY)
    assert await get_one(backend, new.id) == create(new, now_ms=clock())


async def test_a_task_comes_back_from_its_claim_with_all_it_was_submitted_with(backend: Backend) -> None:
    new = replace(
        a_task(context=b"\x00", watcher="ends", placement=meant_for("n1")),
        preferred_types=("a", "b"),
        preferences=("zone=eu", "memory_gb>=64:0.5"),
        decision=b"\xff\x00",
        policy=TaskPolicy(backoff_factor=1.5, progress_timeout_ms=1),
    )
    await submit_one(backend, new)
    task = await claim_one(backend, a_claimer("n1"))
    assert (task.preferred_types, task.preferences, task.decision) == (("a", "b"), new.preferences, b"\xff\x00")
    assert (task.placed_on, task.pinned, task.policy, task.watchers) == ("n1", False, new.policy, ("ends",))


async def test_a_receipt_names_its_durability(backend: Backend) -> None:
    receipt = await submit_one(backend, a_task())
    assert receipt.durability in Durability
    assert receipt.durability is (await backend.health()).durability


async def test_a_delayed_task_is_scheduled_with_its_due_time(backend: Backend, clock: ManualClock) -> None:
    new = a_task(delay_ms=5_000)
    receipt = await submit_one(backend, new)
    task = await get_one(backend, new.id)
    assert receipt.state is task.state is TaskState.SCHEDULED
    assert task.due_ms == clock() + 5_000
    assert task.vt == clock() + 5_000 + OFFSETS_MS[Priority.NORMAL]
    assert await claim_all(backend) == []


async def test_receipts_come_in_the_order_of_the_batch(backend: Backend) -> None:
    batch = [a_task() for _ in range(20)]
    receipts = await backend.tasks.submit(batch)
    assert [receipt.task_id for receipt in receipts] == [new.id for new in batch]


async def test_an_empty_batch_is_answered_with_nothing(backend: Backend) -> None:
    assert list(await backend.tasks.submit([])) == []


async def test_the_largest_batch_is_accepted_whole(backend: Backend) -> None:
    receipts = await backend.tasks.submit([a_task() for _ in range(MAX_BATCH)])
    assert sum(receipt.created for receipt in receipts) == MAX_BATCH
    assert (await backend.tasks.counts())[TaskState.READY] == MAX_BATCH


async def test_a_batch_over_the_limit_is_refused_and_creates_nothing(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError):
        await backend.tasks.submit([a_task() for _ in range(MAX_BATCH + 1)])
    assert not any((await backend.tasks.counts()).values())


async def test_a_known_idempotency_key_answers_with_the_task_that_has_it(backend: Backend) -> None:
    first, second = a_task(key="order-7"), a_task(key="order-7")
    await submit_one(backend, first)
    receipt = await submit_one(backend, second)
    assert (receipt.task_id, receipt.created) == (first.id, False)
    assert list(await backend.tasks.get([second.id])) == [None]


async def test_two_tasks_of_one_batch_with_one_key_are_one_task(backend: Backend) -> None:
    first, second = a_task(key="order-8"), a_task(key="order-8")
    receipts = await backend.tasks.submit([first, second])
    assert [(receipt.task_id, receipt.created) for receipt in receipts] == [(first.id, True), (first.id, False)]


async def test_a_key_is_still_known_after_its_task_ended(backend: Backend) -> None:
    first = a_task(key="order-9")
    await submit_one(backend, first)
    task = await claim_one(backend)
    await backend.tasks.start([hold_of(task)])
    await backend.tasks.finish([completed(task)])
    receipt = await submit_one(backend, a_task(key="order-9"))
    assert (receipt.task_id, receipt.created, receipt.state) == (first.id, False, TaskState.COMPLETED)


async def test_a_key_is_free_again_when_its_task_is_forgotten(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    first = a_task(key="order-10")
    await submit_one(backend, first)
    await backend.tasks.cancel(first.id, reason="not needed")
    clock.advance(ms=first.policy.result_ttl_ms + 1)
    await backend.tasks.sweep()
    assert (await submit_one(backend, a_task(key="order-10"))).created


async def test_submitting_the_same_id_again_changes_nothing(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    before = await get_one(backend, new.id)
    receipt = await submit_one(backend, replace(new, payload=b"other", delay_ms=9_000))
    assert (receipt.task_id, receipt.created, receipt.state) == (new.id, False, TaskState.READY)
    assert await get_one(backend, new.id) == before
    assert len(await claim_all(backend)) == 1


async def test_a_submit_is_seen_at_once_by_another_process(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    new = a_task()
    await submit_one(backend, new)
    assert (await get_one(other, new.id)).payload == new.payload
    assert [task.id for task in await claim_all(other, a_claimer("elsewhere"))] == [new.id]
