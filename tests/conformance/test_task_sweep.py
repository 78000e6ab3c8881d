"""What time makes due, whoever sweeps."""

import asyncio
from dataclasses import replace

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import (
    FailureKind,
    Outcome,
    Priority,
    SweepReport,
    Task,
    TaskPolicy,
    TaskState,
    TaskTimings,
)
from meshd.tasks.states import GONE, LAPSED, MAX_CLAIMS, Reclaim, apply
from tests.conftest import OpenAgain
from tests.support.builders import (
    LEASE_MS,
    NOTHING,
    a_claimer,
    a_task,
    claim_all,
    claim_one,
    completed,
    crash,
    failed,
    get_one,
    hold_of,
    offer,
    start_one,
    submit_one,
)

STEP_MS = TaskTimings().sweep_ms


def gone(now_ms: int) -> Reclaim:
    return Reclaim(now_ms=now_ms, why=GONE)


async def pass_time(backend: Backend, clock: ManualClock, *, ms: int) -> list[SweepReport]:
    """Let `ms` pass with a sweep after each sweep interval, as in a mesh that is alive."""
    reports = [await backend.tasks.sweep()]
    while ms > 0:
        step = min(ms, STEP_MS)
        clock.advance(ms=step)
        ms -= step
        reports.append(await backend.tasks.sweep())
    return reports


async def lapse(backend: Backend, clock: ManualClock) -> int:
    """Let every present lease run out in a mesh that is alive; return how many holds were given back."""
    return sum(report.reclaimed for report in await pass_time(backend, clock, ms=LEASE_MS + 1))


async def test_a_sweep_with_nothing_due_moves_nothing(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task(delay_ms=60_000)])
    await backend.tasks.sweep()
    assert await backend.tasks.sweep() == SweepReport()


async def test_a_delayed_task_is_promoted_when_its_time_comes(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    new = a_task(delay_ms=700)
    await submit_one(backend, new)
    clock.advance(ms=699)
    assert (await backend.tasks.sweep()).promoted == 0
    clock.advance(ms=2)
    assert (await backend.tasks.sweep()).promoted == 1
    assert (await claim_one(backend)).id == new.id


async def test_a_promoted_task_takes_its_place_by_its_due_time(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    delayed, early, late = a_task(delay_ms=500), a_task(), a_task()
    await backend.tasks.submit([delayed, early])
    clock.advance(ms=600)
    await submit_one(backend, late)
    await backend.tasks.sweep()
    assert [task.id for task in await claim_all(backend)] == [early.id, delayed.id, late.id]


async def test_a_lapsed_lease_returns_the_task_once_with_its_age(backend: Backend, clock: ManualClock) -> None:
    first = a_task()
    await submit_one(backend, first)
    task = await claim_one(backend)
    assert await lapse(backend, clock) == 1
    back = await get_one(backend, first.id)
    assert (back.state, back.node_id, back.vt, back.lease_until_ms) == (TaskState.READY, None, task.vt, 0)
    await submit_one(backend, a_task(priority=Priority.NORMAL))
    assert (await claim_one(backend, a_claimer("n2"))).id == first.id


async def test_a_renewed_lease_is_not_taken(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    for _ in range(6):
        await pass_time(backend, clock, ms=LEASE_MS - 1_000)
        assert list(await backend.tasks.renew([hold_of(task)], lease_ms=LEASE_MS)) == [Outcome.OK]
    assert (await get_one(backend, task.id)).token == task.token


async def test_taking_back_fences_the_old_holder_before_anyone_claims_anew(
    backend: Backend, clock: ManualClock
) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await lapse(backend, clock)
    assert (await get_one(backend, task.id)).token > task.token
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.FENCED]


async def test_a_crash_is_charged_only_to_a_started_task(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    started = await start_one(backend)
    waiting = await claim_one(backend)
    await lapse(backend, clock)
    crashed, unharmed = await get_one(backend, started.id), await get_one(backend, waiting.id)
    assert (crashed.crashes, unharmed.crashes, unharmed.errors) == (1, 0, ())
    (error,) = crashed.errors
    assert (error.kind, error.message, error.node_id) == (FailureKind.CRASHED, LAPSED, "n1")


async def test_a_task_that_crashes_its_node_three_times_is_dead(backend: Backend, clock: ManualClock) -> None:
    new = a_task(policy=TaskPolicy(max_crashes=3))
    await submit_one(backend, new)
    for earlier in range(3):
        await start_one(backend, alone=earlier > 0)
        await lapse(backend, clock)
    dead = await get_one(backend, new.id)
    assert (dead.state, dead.crashes, dead.reason) == (TaskState.DEAD, 3, FailureKind.CRASHED)
    assert dead.payload == new.payload
    assert [error.attempt for error in dead.errors] == [1, 2, 3]
    assert await offer(backend) == await offer(backend, alone=True) == NOTHING


async def test_burying_is_reported_and_not_counted_as_given_back(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task(policy=TaskPolicy(max_crashes=1)))
    await start_one(backend)
    reports = await pass_time(backend, clock, ms=LEASE_MS + 1)
    assert (sum(r.buried for r in reports), sum(r.reclaimed for r in reports)) == (1, 0)


async def test_a_task_claimed_too_often_without_an_end_is_dead(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    for number in range(MAX_CLAIMS):
        await claim_one(backend, a_claimer("n1", incarnation=number + 1))
        await backend.tasks.reclaim("n1", up_to_incarnation=number + 1)
    dead = await get_one(backend, new.id)
    assert (dead.state, dead.claims, dead.crashes) == (TaskState.DEAD, MAX_CLAIMS, 0)


async def test_after_a_pause_of_the_store_live_holders_keep_their_tasks(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.submit([a_task() for _ in range(10)])
    held = await claim_all(backend)
    await backend.tasks.start([hold_of(task) for task in held])
    await backend.tasks.sweep()
    clock.advance(ms=10 * LEASE_MS)
    report = await backend.tasks.sweep()
    assert (report.graced, report.reclaimed, report.buried) == (True, 0, 0)
    outcomes = await backend.tasks.renew([hold_of(task) for task in held], lease_ms=LEASE_MS)
    assert set(outcomes) == {Outcome.OK}


async def test_grace_extends_each_lease_by_the_gap(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    await backend.tasks.sweep()
    task = await claim_one(backend)
    clock.advance(ms=40_000)
    assert (await backend.tasks.sweep()).graced
    assert (await get_one(backend, task.id)).lease_until_ms == task.lease_until_ms + 40_000


async def test_grace_does_not_last_beyond_the_extended_lease(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    await backend.tasks.sweep()
    task = await start_one(backend)
    clock.advance(ms=40_000)
    await backend.tasks.sweep()
    assert await lapse(backend, clock) == 1
    assert (await get_one(backend, task.id)).crashes == 1


async def test_an_ordinary_sweep_interval_grants_no_grace(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    await claim_one(backend)
    reports = await pass_time(backend, clock, ms=LEASE_MS + 1)
    assert not any(report.graced for report in reports[1:])


@pytest.mark.parametrize("held", ["ready", "scheduled", "claimed", "running"])
async def test_a_task_past_its_deadline_expires_wherever_it_is(backend: Backend, clock: ManualClock, held: str) -> None:
    await backend.tasks.sweep()
    new = a_task(expires_in_ms=700, delay_ms=5_000 if held == "scheduled" else 0)
    await submit_one(backend, new)
    if held == "claimed":
        await claim_one(backend)
    if held == "running":
        await start_one(backend)
    clock.advance(ms=701)
    assert (await backend.tasks.sweep()).expired == 1
    ended = await get_one(backend, new.id)
    assert (ended.state, ended.finished_ms) == (TaskState.EXPIRED, clock())
    assert ended.reason


async def test_an_expired_holder_may_not_renew(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await submit_one(backend, a_task(expires_in_ms=700))
    task = await start_one(backend)
    clock.advance(ms=701)
    await backend.tasks.sweep()
    (outcome,) = await backend.tasks.renew([hold_of(task)], lease_ms=LEASE_MS)
    assert outcome not in (Outcome.OK, Outcome.CANCEL_REQUESTED)


async def end_task(backend: Backend, end: TaskState, policy: TaskPolicy) -> Task:
    new = a_task(policy=policy)
    await submit_one(backend, new)
    if end is TaskState.CANCELLED:
        await backend.tasks.cancel(new.id, reason="not needed")
    else:
        task = await start_one(backend)
        ending = completed(task) if end is TaskState.COMPLETED else failed(task, retry_in_ms=None)
        await backend.tasks.finish([ending])
    return await get_one(backend, new.id)


@pytest.mark.parametrize("end", [TaskState.COMPLETED, TaskState.CANCELLED, TaskState.DEAD])
async def test_an_ended_task_is_forgotten_after_its_retention(
    backend: Backend, clock: ManualClock, end: TaskState
) -> None:
    await backend.tasks.sweep()
    kept_ms = 600_000
    other_ms = 1_200_000 if end is TaskState.DEAD else 300_000
    policy = TaskPolicy(
        result_ttl_ms=other_ms if end is TaskState.DEAD else kept_ms,
        dead_ttl_ms=kept_ms if end is TaskState.DEAD else other_ms,
    )
    task = await end_task(backend, end, policy)
    clock.advance(ms=kept_ms - 1)
    await backend.tasks.sweep()
    assert list(await backend.tasks.get([task.id])) == [task]
    assert (await backend.tasks.counts())[end] == 1
    clock.advance(ms=2)
    await backend.tasks.sweep()
    assert list(await backend.tasks.get([task.id])) == [None]
    assert (await backend.tasks.counts()).get(end, 0) == 0


async def test_an_open_task_is_never_forgotten(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    policy = TaskPolicy(result_ttl_ms=1_000, dead_ttl_ms=1_000)
    new = a_task(policy=policy)
    await submit_one(backend, new)
    clock.advance(seconds=30 * 86_400)
    await backend.tasks.sweep()
    assert (await claim_one(backend)).id == new.id


async def test_a_sweep_stops_at_its_limit_and_says_there_is_more(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await backend.tasks.submit([a_task(delay_ms=100) for _ in range(25)])
    clock.advance(ms=200)
    reports: list[SweepReport] = [await backend.tasks.sweep(limit=10)]
    while reports[-1].more:
        reports.append(await backend.tasks.sweep(limit=10))
    assert reports[0].more
    assert sum(report.promoted for report in reports) == 25
    assert max(report.promoted for report in reports) <= 10


async def test_many_sweepers_at_once_move_each_task_once(
    backend: Backend, open_again: OpenAgain, clock: ManualClock
) -> None:
    sweepers = [backend, *[await open_again() for _ in range(3)]]
    await backend.tasks.sweep()
    await backend.tasks.submit([a_task(delay_ms=100) for _ in range(40)])
    clock.advance(ms=200)
    reports = await asyncio.gather(*(sweeper.tasks.sweep() for sweeper in sweepers * 2))
    assert sum(report.promoted for report in reports) == 40
    assert len(await claim_all(backend)) == 40


async def test_reclaim_takes_back_all_a_node_holds(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(5)])
    mine = await claim_all(backend, a_claimer("n1"), limit=3)
    theirs = await claim_all(backend, a_claimer("n2"))
    await backend.tasks.start([hold_of(mine[0])])
    assert await backend.tasks.reclaim("n1", up_to_incarnation=1) == 3
    assert await backend.tasks.reclaim("n1", up_to_incarnation=1) == 0
    assert dict(await backend.tasks.open_counts(["n1", "n2"])) == {"n1": 0, "n2": len(theirs)}
    assert [(await get_one(backend, task.id)).crashes for task in mine] == [1, 0, 0]


async def test_the_error_of_a_crash_says_what_is_known_of_the_holder(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    await crash(backend, await claim_one(backend, a_claimer("n0")))
    clock.advance(ms=250)
    started_ms = clock()
    held = await start_one(backend, a_claimer("n1", incarnation=7))
    clock.advance(ms=250)
    crashed = await crash(backend, held)
    assert crashed == apply(replace(held, state=TaskState.RUNNING, starts=1, started_ms=started_ms), gone(clock()))
    (error,) = crashed.errors
    assert (error.message, error.attempt, error.node_id, error.at_ms) == (GONE, 1, "n1", clock())
    assert all(fact in error.detail for fact in ("incarnation 7", str(started_ms), "2 times"))


async def test_reclaim_spares_newer_incarnations(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    old = await claim_one(backend, a_claimer("n1", incarnation=1))
    new = await claim_one(backend, a_claimer("n1", incarnation=2))
    assert await backend.tasks.reclaim("n1", up_to_incarnation=1) == 1
    assert (await get_one(backend, old.id)).state is TaskState.READY
    assert await get_one(backend, new.id) == new


async def test_reclaim_of_an_unknown_node_moves_nothing(backend: Backend) -> None:
    assert await backend.tasks.reclaim("nobody", up_to_incarnation=99) == 0
