"""A node that lost an answer gives back what it holds without knowing."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import Hold, Outcome, TaskState
from meshd.tasks.store import MAX_BATCH
from tests.conftest import OpenAgain
from tests.support.builders import (
    a_claimer,
    a_task,
    answer_bell,
    claim_all,
    claim_one,
    completed,
    get_one,
    hold_of,
    start_one,
    submit_one,
)

ME, OTHER = a_claimer("n1"), a_claimer("n2")


async def test_a_claim_whose_answer_was_lost_is_given_back_at_once_and_not_charged(
    backend: Backend, clock: ManualClock
) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    lost = await claim_all(backend, ME)
    clock.advance(ms=5)
    assert await backend.tasks.reconcile(ME, known=[]) == 2
    for task in lost:
        back = await get_one(backend, task.id)
        assert (back.state, back.node_id, back.lease_until_ms, back.vt) == (TaskState.READY, None, 0, task.vt)
        assert (back.failures, back.crashes, back.errors, back.attempt) == (0, 0, (), 1)
    assert [task.id for task in await claim_all(backend, OTHER)] == [task.id for task in lost]


async def test_what_the_node_knows_is_left_alone(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(4)])
    running, claimed, *lost = await claim_all(backend, ME)
    await backend.tasks.start([hold_of(running)])
    assert await backend.tasks.reconcile(ME, known=[hold_of(claimed), hold_of(running)]) == len(lost)
    assert await get_one(backend, claimed.id) == claimed
    assert (await get_one(backend, running.id)).state is TaskState.RUNNING
    assert {task.id for task in await claim_all(backend, OTHER)} == {task.id for task in lost}


async def test_reconciling_again_moves_nothing(backend: Backend) -> None:
    await submit_one(backend, a_task())
    await claim_one(backend, ME)
    assert await backend.tasks.reconcile(ME, known=[]) == 1
    assert await backend.tasks.reconcile(ME, known=[]) == 0


async def test_holds_of_others_and_of_other_incarnations_are_untouched(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(3)])
    held = [await claim_one(backend, who) for who in (OTHER, a_claimer("n1", incarnation=2), a_claimer("n11"))]
    assert await backend.tasks.reconcile(ME, known=[]) == 0
    assert [await get_one(backend, task.id) for task in held] == held


async def test_a_hold_known_by_an_older_token_is_given_back(backend: Backend) -> None:
    await submit_one(backend, a_task())
    old = await claim_one(backend, ME)
    await backend.tasks.reclaim("n1", up_to_incarnation=1)
    again = await claim_one(backend, ME)
    assert await backend.tasks.reconcile(ME, known=[hold_of(old)]) == 1
    assert (await get_one(backend, again.id)).state is TaskState.READY


async def test_knowing_what_it_does_not_hold_changes_nothing(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    ended = await start_one(backend, ME)
    await backend.tasks.finish([completed(ended)])
    theirs = await claim_one(backend, OTHER)
    known = [hold_of(ended), hold_of(theirs), Hold(task_id="01HZZZZZZZZZZZZZZZZZZZZZZZ", token=1)]
    assert await backend.tasks.reconcile(ME, known=known) == 0
    assert await get_one(backend, theirs.id) == theirs
    assert (await get_one(backend, ended.id)).state is TaskState.COMPLETED


async def test_a_start_whose_answer_was_lost_is_given_back_uncharged_too(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend, ME)
    assert await backend.tasks.reconcile(ME, known=[]) == 1
    back = await get_one(backend, task.id)
    assert (back.state, back.crashes, back.errors) == (TaskState.READY, 0, ())


async def test_a_late_step_of_a_hold_given_back_changes_nothing(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend, ME)
    await backend.tasks.reconcile(ME, known=[])
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.WRONG_STATE]
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.WRONG_STATE]
    assert (await get_one(backend, task.id)).state is TaskState.READY


async def test_a_lost_task_asked_to_stop_ends_cancelled(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend, ME)
    await backend.tasks.cancel(task.id, reason="no")
    assert await backend.tasks.reconcile(ME, known=[]) == 1
    ended = await get_one(backend, task.id)
    assert (ended.state, ended.reason) == (TaskState.CANCELLED, "no")


async def test_what_is_given_back_rings_who_waits(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    await submit_one(backend, a_task())
    lost = await claim_one(backend, ME)
    assert await claim_all(other, OTHER) == []
    await backend.tasks.reconcile(ME, known=[])
    assert [task.id for task in await answer_bell(other, OTHER)] == [lost.id]


@pytest.mark.parametrize("known", [0, MAX_BATCH])
async def test_a_node_may_hold_more_than_one_batch(backend: Backend, known: int) -> None:
    for _ in range(3):
        await backend.tasks.submit([a_task() for _ in range(200)])
    held = [task for _ in range(3) for task in await claim_all(backend, ME, limit=200)]
    holds = [hold_of(task) for task in held]
    assert await backend.tasks.reconcile(ME, known=holds[:known]) == 600 - known
    assert dict(await backend.tasks.open_counts(["n1"])) == {"n1": known}
    assert await backend.tasks.reconcile(ME, known=holds) == 0
