"""A task that may have killed its node runs alone from then on, so that those beside it pay nothing."""

from dataclasses import replace

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import FailureKind, Outcome, Priority, Released, Task, TaskPolicy, TaskState
from tests.support.builders import (
    NOTHING,
    ONLY_SUSPECTS,
    a_claimer,
    a_suspect,
    a_task,
    answer_bell,
    claim,
    claim_all,
    claim_one,
    completed,
    crash,
    failed,
    get_one,
    hold_of,
    offer,
    pinned_to,
    start_one,
    submit_one,
)


async def suspects(backend: Backend, count: int) -> list[Task]:
    """Have `count` tasks running on one node when it dies."""
    await backend.tasks.submit([a_task() for _ in range(count)])
    held = await claim_all(backend, a_claimer("n0"))
    await backend.tasks.start([hold_of(task) for task in held])
    await backend.tasks.reclaim("n0", up_to_incarnation=1)
    return [await get_one(backend, task.id) for task in held]


async def test_a_suspect_is_handed_out_only_to_a_claim_alone(backend: Backend) -> None:
    suspect = await a_suspect(backend)
    assert suspect.is_suspect
    assert await offer(backend) == ONLY_SUSPECTS
    claimed = await claim(backend, alone=True)
    assert [task.id for task in claimed.tasks] == [suspect.id]
    assert not claimed.suspects_wait


async def test_its_claim_names_holder_lease_and_a_higher_token_like_any_other(backend: Backend) -> None:
    suspect = await a_suspect(backend)
    task = await claim_one(backend, a_claimer("n5", incarnation=3), alone=True)
    assert (task.state, task.node_id, task.incarnation, task.claims) == (TaskState.CLAIMED, "n5", 3, 2)
    assert task.token > suspect.token
    assert await get_one(backend, suspect.id) == task


async def test_a_claim_alone_hands_out_one_suspect_and_nothing_else(backend: Backend) -> None:
    ids = {task.id for task in await suspects(backend, 3)}
    await backend.tasks.submit([a_task(), a_task(priority=Priority.CRITICAL)])
    seen: set[str] = set()
    for left in (2, 1, 0):
        claimed = await claim(backend, alone=True, limit=50)
        assert len(claimed.tasks) == 1
        assert claimed.suspects_wait is (left > 0)
        seen |= {task.id for task in claimed.tasks}
    assert seen == ids
    assert await offer(backend, alone=True) == NOTHING
    assert len(await claim_all(backend)) == 2


async def test_suspects_go_out_by_virtual_time(backend: Backend, clock: ManualClock) -> None:
    news = [a_task(priority=priority) for priority in (Priority.LOW, Priority.CRITICAL, Priority.NORMAL)]
    for new in news:
        await submit_one(backend, new)
        clock.advance(ms=5)
    held = await claim_all(backend, a_claimer("n0"))
    await backend.tasks.start([hold_of(task) for task in held])
    await backend.tasks.reclaim("n0", up_to_incarnation=1)
    served = [(await claim_one(backend, alone=True)).id for _ in news]
    assert served == [news[1].id, news[2].id, news[0].id]


async def test_suspects_are_announced_even_to_a_claim_that_got_all_it_asked_for(backend: Backend) -> None:
    await a_suspect(backend)
    await backend.tasks.submit([a_task() for _ in range(5)])
    claimed = await claim(backend, limit=2)
    assert (len(claimed.tasks), claimed.suspects_wait) == (2, True)


async def test_suspects_are_announced_only_to_those_who_serve_them(backend: Backend) -> None:
    await a_suspect(backend, a_task(requires=["gpu"]), claimer=a_claimer("n0", holds=["gpu"]))
    assert await offer(backend) == await offer(backend, alone=True) == NOTHING
    able = a_claimer("n2", holds=["gpu"])
    assert await offer(backend, able) == ONLY_SUSPECTS
    assert len((await claim(backend, able, alone=True)).tasks) == 1


async def test_a_mesh_without_suspects_has_nothing_for_a_claim_alone(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    assert await offer(backend, alone=True) == NOTHING
    assert not (await claim(backend)).suspects_wait


async def test_what_its_node_held_and_had_not_started_is_no_suspect(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(4)])
    started, *innocent = await claim_all(backend, a_claimer("n0"))
    await backend.tasks.start([hold_of(started)])
    await backend.tasks.reclaim("n0", up_to_incarnation=1)
    claimed = await claim(backend)
    assert [task.id for task in claimed.tasks] == [task.id for task in innocent]
    assert all((task.crashes, task.errors) == (0, ()) for task in claimed.tasks)
    assert claimed.suspects_wait


async def test_a_suspect_that_completes_is_done(backend: Backend) -> None:
    suspect = await a_suspect(backend)
    task = await start_one(backend, alone=True)
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.OK]
    assert (await get_one(backend, suspect.id)).state is TaskState.COMPLETED
    assert await offer(backend) == NOTHING


@pytest.mark.parametrize("how", ["released", "failed", "failed with delay", "taken back", "reconciled"])
async def test_a_suspect_given_back_is_still_one(backend: Backend, clock: ManualClock, how: str) -> None:
    await backend.tasks.sweep()
    suspect = await a_suspect(backend)
    task = await claim_one(backend, alone=True)
    if how == "taken back":
        await crash(backend, task)
    elif how == "reconciled":
        await backend.tasks.reconcile(a_claimer(), known=[])
    else:
        delay_ms = 300 if how == "failed with delay" else 0
        ending = Released(hold=hold_of(task)) if how == "released" else failed(task, retry_in_ms=delay_ms)
        await backend.tasks.finish([ending])
    clock.advance(ms=301)
    await backend.tasks.sweep()
    assert (await get_one(backend, suspect.id)).crashes == 1
    assert await offer(backend) == ONLY_SUSPECTS
    assert (await claim_one(backend, alone=True)).vt == suspect.vt


async def test_a_killer_is_dead_after_its_last_crash_and_its_neighbours_are_not(backend: Backend) -> None:
    killer, *others = await suspects(backend, 4)
    for other in others:
        assert other.crashes == 1
    killed = 1
    while tasks := (await claim(backend, alone=True)).tasks:
        (task,) = tasks
        await backend.tasks.start([hold_of(task)])
        if task.id == killer.id:
            killed += 1
            await crash(backend, task)
        else:
            await backend.tasks.finish([completed(task)])
    dead = await get_one(backend, killer.id)
    assert (dead.state, dead.crashes, killed) == (TaskState.DEAD, 3, 3)
    assert dead.reason == FailureKind.CRASHED
    assert {(await get_one(backend, other.id)).state for other in others} == {TaskState.COMPLETED}


async def test_a_redriven_killer_is_no_suspect_until_it_kills_again(backend: Backend) -> None:
    new = a_task(policy=TaskPolicy(max_crashes=1))
    assert (await a_suspect(backend, new)).state is TaskState.DEAD
    await backend.tasks.redrive(new.id)
    claimed = await claim(backend)
    assert [task.id for task in claimed.tasks] == [new.id]
    assert not claimed.suspects_wait


async def test_a_suspect_given_back_rings_who_waits(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend, a_claimer("n0"))
    waiting = a_claimer("n2")
    assert await claim_all(backend, waiting) == []
    await crash(backend, task)
    assert await answer_bell(backend, waiting) == []
    assert await offer(backend, waiting) == ONLY_SUSPECTS
    assert (await claim_one(backend, waiting, alone=True)).id == task.id


async def test_nothing_is_handed_over_to_a_claimer_that_claimed_alone(backend: Backend) -> None:
    suspect = await a_suspect(backend)
    claimer = a_claimer("n2")
    assert await offer(backend, claimer) == ONLY_SUSPECTS
    assert await offer(backend, claimer, alone=True) == ([suspect.id], False)
    new = a_task()
    await submit_one(backend, new)
    assert (await get_one(backend, new.id)).state is TaskState.READY
    assert await offer(backend, a_claimer("n3")) == ([new.id], False)


async def test_a_pinned_suspect_is_announced_to_its_node_alone(backend: Backend) -> None:
    here = a_claimer("here")
    suspect = await a_suspect(backend, a_task(placement=pinned_to("here")), claimer=here)
    assert await offer(backend) == await offer(backend, alone=True) == NOTHING
    assert await offer(backend, here) == ONLY_SUSPECTS
    assert (await claim_one(backend, here, alone=True)).id == suspect.id


async def test_an_overdue_suspect_is_not_handed_out(backend: Backend, clock: ManualClock) -> None:
    suspect = await a_suspect(backend, a_task(expires_in_ms=600))
    clock.advance(ms=601)
    assert (await claim(backend, alone=True)).tasks == ()
    await backend.tasks.sweep()
    assert (await get_one(backend, suspect.id)).state is TaskState.EXPIRED
    assert await offer(backend) == NOTHING


async def test_a_cancelled_suspect_waits_no_more(backend: Backend) -> None:
    suspect = await a_suspect(backend)
    await backend.tasks.cancel(suspect.id, reason="no")
    assert await offer(backend) == await offer(backend, alone=True) == NOTHING


async def test_a_suspect_moves_with_its_priority(backend: Backend) -> None:
    first, second = await suspects(backend, 2)
    await backend.tasks.reprioritize(second.id, Priority.HIGH)
    assert [(await claim_one(backend, alone=True)).id for _ in range(2)] == [second.id, first.id]


async def test_suspects_are_counted_as_ready(backend: Backend) -> None:
    await suspects(backend, 3)
    assert (await backend.tasks.counts())[TaskState.READY] == 3


async def test_a_task_can_be_a_suspect_of_any_type_and_route(backend: Backend) -> None:
    claimer = a_claimer("n0", types=["a", "b"], holds=["gpu"])
    news = [a_task("a"), a_task("b", requires=["gpu"]), a_task("a", requires=["b"])]
    await backend.tasks.submit(news)
    held = await claim_all(backend, claimer)
    await backend.tasks.start([hold_of(task) for task in held])
    await backend.tasks.reclaim("n0", up_to_incarnation=1)
    other = replace(claimer, node_id="n1")
    found = {(await claim_one(backend, other, alone=True)).id for _ in news}
    assert found == {new.id for new in news}
