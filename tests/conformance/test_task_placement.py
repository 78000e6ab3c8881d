"""Tasks meant for one node: offered to it alone, for a while or for ever."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import Outcome, Priority, Released, SweepReport, Task, TaskPolicy, TaskState
from tests.conftest import OpenAgain
from tests.support.builders import (
    NOTHING,
    a_claimer,
    a_task,
    answer_bell,
    claim_all,
    claim_one,
    crash,
    failed,
    get_one,
    hold_of,
    meant_for,
    offer,
    pinned_to,
    rung,
    start_one,
    submit_one,
)

HERE, THERE = a_claimer("here"), a_claimer("there")
HOLD_BACK_MS = 900


async def submit_placed(backend: Backend, *, delay_ms: int = 0, expires_in_ms: int | None = None) -> Task:
    """Submit a task that is meant for `here`."""
    placement = meant_for("here", hold_back_ms=HOLD_BACK_MS)
    new = a_task(placement=placement, delay_ms=delay_ms, expires_in_ms=expires_in_ms)
    await submit_one(backend, new)
    return await get_one(backend, new.id)


async def submit_pinned(backend: Backend, policy: TaskPolicy | None = None) -> Task:
    new = a_task(placement=pinned_to("here"), policy=policy or TaskPolicy(jitter=False))
    await submit_one(backend, new)
    return await get_one(backend, new.id)


async def test_a_placed_task_goes_to_its_node_and_to_no_other(backend: Backend) -> None:
    task = await submit_placed(backend)
    assert (task.state, task.placed_on, task.pinned) == (TaskState.READY, "here", False)
    assert await claim_all(backend, THERE) == []
    claimed = await claim_one(backend, HERE)
    assert (claimed.id, claimed.node_id, claimed.placed_on) == (task.id, "here", "here")


async def test_any_incarnation_of_the_node_may_take_what_is_placed_on_it(backend: Backend) -> None:
    task = await submit_placed(backend)
    assert (await claim_one(backend, a_claimer("here", incarnation=9))).id == task.id


async def test_its_own_node_must_serve_the_route_too(backend: Backend) -> None:
    await submit_one(backend, a_task(requires=["gpu"], placement=meant_for("here")))
    await submit_one(backend, a_task(requires=["!here"], placement=meant_for("here")))
    await submit_one(backend, a_task("other", placement=pinned_to("here")))
    assert await claim_all(backend, HERE) == []
    assert len(await claim_all(backend, a_claimer("here", holds=["gpu"]))) == 1


async def test_placed_and_open_tasks_are_merged_by_virtual_time(backend: Backend, clock: ManualClock) -> None:
    ids: list[str] = []
    for number in range(12):
        placement = [None, meant_for("here", hold_back_ms=99_000), pinned_to("here")][number % 3]
        ids.append((await submit_one(backend, a_task(placement=placement))).task_id)
        clock.advance(ms=1)
    urgent = a_task(priority=Priority.HIGH, placement=pinned_to("here"))
    await submit_one(backend, urgent)
    first = await claim_all(backend, HERE, limit=5)
    assert [task.id for task in first] == [urgent.id, *ids[:4]]
    assert [task.id for task in await claim_all(backend, THERE)] == [ids[6], ids[9]]
    assert [task.id for task in await claim_all(backend, HERE)] == [ids[4], ids[5], ids[7], ids[8], ids[10], ids[11]]


async def test_a_placed_task_is_opened_once_its_hold_back_is_over(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    task = await submit_placed(backend)
    clock.advance(ms=HOLD_BACK_MS - 1)
    assert await backend.tasks.sweep() == SweepReport()
    assert await claim_all(backend, THERE) == []
    clock.advance(ms=2)
    assert await backend.tasks.sweep() == SweepReport(opened=1)
    assert await backend.tasks.sweep() == SweepReport()
    opened = await get_one(backend, task.id)
    assert (opened.state, opened.placed_on, opened.vt) == (TaskState.READY, None, task.vt)
    assert (await claim_one(backend, THERE)).id == task.id


async def test_its_node_may_still_take_an_opened_task(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    task = await submit_placed(backend)
    clock.advance(ms=HOLD_BACK_MS + 1)
    await backend.tasks.sweep()
    assert (await claim_one(backend, HERE)).id == task.id
    assert await claim_all(backend, THERE) == []


async def test_a_task_placed_on_a_node_that_never_comes_is_opened_too(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    new = a_task(placement=meant_for("nobody", hold_back_ms=300))
    await submit_one(backend, new)
    clock.advance(ms=301)
    assert (await backend.tasks.sweep()).opened == 1
    assert (await claim_one(backend, THERE)).id == new.id


async def test_what_its_node_took_in_time_is_not_opened(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await submit_placed(backend)
    task = await start_one(backend, HERE)
    clock.advance(ms=HOLD_BACK_MS + 1)
    assert (await backend.tasks.sweep()).opened == 0
    assert (await get_one(backend, task.id)).placed_on == "here"


async def test_the_hold_back_of_a_delayed_task_begins_when_it_is_due(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    task = await submit_placed(backend, delay_ms=700)
    clock.advance(ms=701)
    assert await backend.tasks.sweep() == SweepReport(promoted=1)
    assert await claim_all(backend, THERE) == []
    clock.advance(ms=HOLD_BACK_MS - 2)
    assert await backend.tasks.sweep() == SweepReport()
    clock.advance(ms=2)
    assert await backend.tasks.sweep() == SweepReport(opened=1)
    assert (await claim_one(backend, THERE)).id == task.id


async def test_a_late_sweep_promotes_and_opens_at_once(backend: Backend, clock: ManualClock) -> None:
    task = await submit_placed(backend, delay_ms=700)
    clock.advance(ms=700 + HOLD_BACK_MS + 1)
    report = await backend.tasks.sweep()
    assert (report.promoted, report.opened) == (1, 1)
    assert (await claim_one(backend, THERE)).id == task.id


async def test_a_sweep_opens_no_more_than_its_limit(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await backend.tasks.submit(
        [a_task(placement=meant_for(f"n{number}", hold_back_ms=HOLD_BACK_MS)) for number in range(25)]
    )
    clock.advance(ms=HOLD_BACK_MS + 1)
    reports = [await backend.tasks.sweep(limit=10)]
    while reports[-1].more:
        reports.append(await backend.tasks.sweep(limit=10))
    assert max(report.opened for report in reports) <= 10
    assert sum(report.opened for report in reports) == 25
    assert len(await claim_all(backend, THERE)) == 25


async def test_the_death_of_its_node_opens_a_placed_task(backend: Backend) -> None:
    ready, delayed = await submit_placed(backend), await submit_placed(backend, delay_ms=50_000)
    pinned = await submit_pinned(backend)
    elsewhere = a_task(placement=meant_for("third"))
    await submit_one(backend, elsewhere)
    assert await backend.tasks.reclaim("here", up_to_incarnation=1) == 0
    assert (await get_one(backend, ready.id)).placed_on is None
    assert (await get_one(backend, delayed.id)).placed_on is None
    assert await get_one(backend, pinned.id) == pinned
    assert (await get_one(backend, elsewhere.id)).placed_on == "third"
    assert [task.id for task in await claim_all(backend, THERE)] == [ready.id]


async def test_the_death_of_its_node_opens_many_placed_tasks(backend: Backend) -> None:
    for _ in range(3):
        await backend.tasks.submit([a_task(placement=meant_for("here")) for _ in range(200)])
    await backend.tasks.reclaim("here", up_to_incarnation=1)
    found: list[Task] = []
    while batch := await claim_all(backend, THERE):
        found.extend(batch)
    assert len(found) == 600


@pytest.mark.parametrize("how", ["released", "failed", "failed with delay", "crashed", "reconciled"])
async def test_a_soft_placement_ends_when_the_task_is_given_back(
    backend: Backend, clock: ManualClock, how: str
) -> None:
    await backend.tasks.sweep()
    await submit_placed(backend)
    task = await start_one(backend, HERE)
    if how == "crashed":
        await crash(backend, task)
    elif how == "reconciled":
        await backend.tasks.reconcile(HERE, known=[])
    else:
        delay_ms = 300 if how == "failed with delay" else 0
        ending = Released(hold=hold_of(task)) if how == "released" else failed(task, retry_in_ms=delay_ms)
        assert list(await backend.tasks.finish([ending])) == [Outcome.OK]
    assert (await get_one(backend, task.id)).placed_on is None
    clock.advance(ms=301)
    await backend.tasks.sweep()
    assert (await claim_one(backend, THERE, alone=how == "crashed")).id == task.id


async def test_a_soft_placement_is_not_kept_by_a_redrive(backend: Backend) -> None:
    task = await submit_placed(backend)
    await backend.tasks.cancel(task.id, reason="no")
    assert (await backend.tasks.redrive(task.id)).placed_on is None
    assert (await claim_one(backend, THERE)).id == task.id


async def test_a_pinned_task_waits_for_its_node_however_long(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    task = await submit_pinned(backend)
    clock.advance(seconds=86_400)
    assert await backend.tasks.sweep() == SweepReport(graced=True)
    await backend.tasks.reclaim("here", up_to_incarnation=9)
    assert await claim_all(backend, THERE) == []
    assert await get_one(backend, task.id) == task
    assert (await claim_one(backend, HERE)).id == task.id


@pytest.mark.parametrize("how", ["released", "failed", "failed with delay", "crashed", "reconciled", "redriven"])
async def test_a_pin_survives_whatever_happens_to_the_task(backend: Backend, clock: ManualClock, how: str) -> None:
    await backend.tasks.sweep()
    await submit_pinned(backend)
    task = await start_one(backend, HERE)
    if how == "crashed":
        await crash(backend, task)
    elif how == "reconciled":
        await backend.tasks.reconcile(HERE, known=[])
    elif how == "released":
        await backend.tasks.finish([Released(hold=hold_of(task))])
    else:
        retry_in_ms = {"failed": 0, "failed with delay": 300, "redriven": None}[how]
        await backend.tasks.finish([failed(task, retry_in_ms=retry_in_ms)])
    if how == "redriven":
        await backend.tasks.redrive(task.id)
    clock.advance(ms=900)
    await backend.tasks.sweep()
    back = await get_one(backend, task.id)
    assert (back.state, back.placed_on, back.pinned) == (TaskState.READY, "here", True)
    alone = how == "crashed"
    assert await offer(backend, THERE, alone=alone) == await offer(backend, THERE) == NOTHING
    assert (await claim_one(backend, HERE, alone=alone)).id == task.id


async def test_a_pinned_task_that_keeps_killing_its_node_dies(backend: Backend) -> None:
    task = await submit_pinned(backend, TaskPolicy(max_crashes=2))
    for earlier in range(2):
        await crash(backend, await start_one(backend, HERE, alone=earlier > 0))
    dead = await get_one(backend, task.id)
    assert (dead.state, dead.placed_on) == (TaskState.DEAD, "here")


@pytest.mark.parametrize("pinned", [False, True], ids=["placed", "pinned"])
async def test_the_node_a_task_is_meant_for_is_rung_and_no_other(
    backend: Backend, open_again: OpenAgain, pinned: bool
) -> None:
    other = await open_again()
    assert await claim_all(backend, THERE) == []
    assert await claim_all(backend, HERE) == []
    new = a_task(placement=pinned_to("here") if pinned else meant_for("here"))
    await submit_one(other, new)
    assert await rung(backend, THERE) == [False]
    assert [task.id for task in await answer_bell(backend, HERE)] == [new.id]


async def test_a_batch_placed_on_one_node_rings_it_alone(backend: Backend) -> None:
    assert await claim_all(backend, THERE) == []
    assert await claim_all(backend, HERE) == []
    await backend.tasks.submit([a_task(placement=meant_for("here")) for _ in range(3)])
    assert await rung(backend, THERE) == [False]
    assert len(await answer_bell(backend, HERE)) == 3


async def test_a_placed_task_and_an_open_one_ring_two_claimers(backend: Backend) -> None:
    assert await claim_all(backend, HERE, limit=1) == []
    assert await claim_all(backend, THERE, limit=1) == []
    placed, free = a_task(placement=meant_for("here")), a_task()
    await backend.tasks.submit([placed, free])
    assert [task.id for task in await answer_bell(backend, HERE, limit=1)] == [placed.id]
    assert [task.id for task in await answer_bell(backend, THERE, limit=1)] == [free.id]


async def test_a_delayed_placed_task_rings_its_node_when_it_is_promoted(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    task = await submit_placed(backend, delay_ms=300)
    assert await claim_all(backend, THERE) == []
    assert await claim_all(backend, HERE) == []
    clock.advance(ms=301)
    await backend.tasks.sweep()
    assert await rung(backend, THERE) == [False]
    assert [found.id for found in await answer_bell(backend, HERE)] == [task.id]


@pytest.mark.parametrize("how", ["sweep", "reclaim"])
async def test_an_opened_task_rings_whoever_waits(backend: Backend, clock: ManualClock, how: str) -> None:
    await backend.tasks.sweep()
    task = await submit_placed(backend)
    assert await claim_all(backend, THERE) == []
    if how == "sweep":
        clock.advance(ms=HOLD_BACK_MS + 1)
        await backend.tasks.sweep()
    else:
        await backend.tasks.reclaim("here", up_to_incarnation=1)
    assert [found.id for found in await answer_bell(backend, THERE)] == [task.id]


async def test_a_placed_task_past_its_deadline_expires(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    swept, claimed = await submit_placed(backend, expires_in_ms=500), await submit_placed(backend, expires_in_ms=900)
    clock.advance(ms=501)
    assert await backend.tasks.sweep() == SweepReport(expired=1)
    clock.advance(ms=400)
    assert await claim_all(backend, HERE) == []
    clock.advance(ms=500)
    assert (await backend.tasks.sweep()).opened == 0
    assert {(await get_one(backend, task.id)).state for task in (swept, claimed)} == {TaskState.EXPIRED}


async def test_a_cancelled_placed_task_is_neither_opened_nor_handed_out(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    task = await submit_placed(backend)
    await backend.tasks.cancel(task.id, reason="no")
    clock.advance(ms=HOLD_BACK_MS + 1)
    assert await backend.tasks.sweep() == SweepReport()
    assert await claim_all(backend, HERE) == []


async def test_a_task_resubmitted_after_a_lost_answer_keeps_its_placement(backend: Backend) -> None:
    new = a_task(placement=meant_for("here"))
    await submit_one(backend, new)
    assert not (await submit_one(backend, new)).created
    assert await claim_all(backend, THERE) == []
    assert len(await claim_all(backend, HERE)) == 1
