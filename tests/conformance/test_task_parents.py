"""Tasks that wait for tasks: blocked until all parents have completed, and cancelled by one that did not."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import (
    InvalidArgumentError,
    InvalidTransitionError,
    NotFoundError,
    UnknownParentError,
)
from meshd.events import START
from meshd.ids import TAIL, new_id
from meshd.tasks.model import NewTask, Outcome, Priority, Stopped, Task, TaskPolicy, TaskState
from meshd.tasks.store import MAX_PARENTS, MAX_WAITS, TASKS_LOG
from tests.support.builders import (
    a_claimer,
    a_task,
    answer_bell,
    claim_all,
    completed,
    crash,
    failed,
    get_one,
    hold_of,
    meant_for,
    pinned_to,
    start_one,
    submit_one,
)

HOUR_MS = 3_600_000
TASK_TAIL = "ABCD"


def near(
    task_type: str = "work", *, after: tuple[NewTask, ...] = (), runs_anyway: bool = False, **more: Any
) -> NewTask:
    """Return a task that is kept where all others of its test are, whatever the store's partitions."""
    task_id = new_id()[:-TAIL] + TASK_TAIL
    return a_task(task_type, task_id=task_id, after=[one.id for one in after], runs_anyway=runs_anyway, **more)


async def state_of(backend: Backend, new: NewTask) -> TaskState:
    return (await get_one(backend, new.id)).state


async def states_of(backend: Backend, *news: NewTask) -> list[TaskState]:
    return [await state_of(backend, new) for new in news]


async def run(backend: Backend, task_type: str = "work") -> Task:
    """Run the one task of this type to its good end."""
    task = await start_one(backend, a_claimer(types=[task_type]))
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.OK]
    return task


async def bury(backend: Backend, task_type: str = "work") -> Task:
    """Have the one task of this type fail for good."""
    task = await start_one(backend, a_claimer(types=[task_type]))
    assert list(await backend.tasks.finish([failed(task, retry_in_ms=None)])) == [Outcome.OK]
    return task


async def log_of(backend: Backend, new: NewTask) -> list[tuple[str, str]]:
    events = await backend.events.read(TASKS_LOG, after=START, limit=1_000)
    return [(event.body["event"], event.body["state"]) for event in events if event.body["task"] == new.id]


async def is_sound(backend: Backend) -> bool:
    page = await backend.tasks.audit(repair=False)
    findings = list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=False, cursor=page.cursor)
        findings += page.findings
    assert findings == []
    return True


async def test_a_child_is_blocked_until_its_parent_has_completed(backend: Backend) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await submit_one(backend, parent)
    receipt = await submit_one(backend, child)
    assert (receipt.created, receipt.state) == (True, TaskState.BLOCKED)
    task = await get_one(backend, child.id)
    assert (task.depends_on, task.waits_for) == ((parent.id,), (parent.id,))
    assert (await get_one(backend, parent.id)).is_awaited
    assert await claim_all(backend, a_claimer(types=["then"])) == []
    assert await is_sound(backend)
    await run(backend, "first")
    assert (await get_one(backend, child.id)).waits_for == ()
    assert (await run(backend, "then")).id == child.id
    assert await log_of(backend, child) == [
        ("submitted", "blocked"),
        ("unblocked", "ready"),
        ("claimed", "claimed"),
        ("started", "running"),
        ("completed", "completed"),
    ]
    assert await is_sound(backend)


async def test_a_child_waits_for_all_of_its_parents_whatever_their_order(backend: Backend) -> None:
    parents = [near(f"p{n}") for n in range(5)]
    child = near("then", after=tuple(parents))
    await backend.tasks.submit([*parents, child])
    for n in (3, 0, 4, 1, 2):
        assert await state_of(backend, child) is TaskState.BLOCKED
        await run(backend, f"p{n}")
    assert await state_of(backend, child) is TaskState.READY
    assert len(await log_of(backend, child)) == 2


async def test_a_parent_may_be_in_the_same_call_before_its_child_and_not_after_it(backend: Backend) -> None:
    parent, middle = near("first"), near("middle")
    child = near("then", after=(parent, middle))
    with pytest.raises(UnknownParentError) as caught:
        await backend.tasks.submit([parent, child, middle])
    assert caught.value.parent_id == middle.id
    assert await backend.tasks.get([parent.id, child.id, middle.id]) == [None, None, None]
    receipts = await backend.tasks.submit([parent, middle, child])
    assert [receipt.state for receipt in receipts] == [TaskState.READY, TaskState.READY, TaskState.BLOCKED]


async def test_an_unknown_parent_is_named_and_nothing_is_created(backend: Backend) -> None:
    parent, stranger = near(), near()
    with pytest.raises(NotFoundError, match=stranger.id):
        await backend.tasks.submit([parent, near(after=(stranger,))])
    assert not any((await backend.tasks.counts()).values())
    assert await is_sound(backend)


async def test_parents_no_task_can_have_are_refused(backend: Backend) -> None:
    parent = near()
    itself = near()
    for bad in (
        a_task(task_id=itself.id, after=[itself.id]),
        a_task(task_id=itself.id, after=[parent.id, parent.id]),
        a_task(task_id=itself.id, after=[near().id for _ in range(MAX_PARENTS + 1)]),
    ):
        with pytest.raises(InvalidArgumentError):
            await backend.tasks.submit([parent, bad])
    many = [near() for _ in range(20)]
    too_many = [near(after=tuple(many)) for _ in range(MAX_WAITS // 20 + 1)]
    with pytest.raises(InvalidArgumentError, match="split"):
        await backend.tasks.submit([*many, *too_many])
    assert not any((await backend.tasks.counts()).values())


async def test_parents_that_had_completed_hold_nobody_up(backend: Backend) -> None:
    parent, other = near("first"), near("other")
    await backend.tasks.submit([parent, other])
    await run(backend, "first")
    child, twin = near("then", after=(parent,)), near("twin", after=(parent, other))
    receipts = await backend.tasks.submit([child, twin])
    assert [receipt.state for receipt in receipts] == [TaskState.READY, TaskState.BLOCKED]
    assert (await get_one(backend, child.id)).depends_on == (parent.id,)
    assert (await get_one(backend, twin.id)).waits_for == (other.id,)
    assert not (await get_one(backend, parent.id)).is_awaited


async def end_dead(backend: Backend, parent: NewTask) -> None:
    del parent
    await bury(backend, "first")


async def end_cancelled(backend: Backend, parent: NewTask) -> None:
    await backend.tasks.cancel(parent.id, reason="enough")


async def end_stopped(backend: Backend, parent: NewTask) -> None:
    task = await start_one(backend, a_claimer(types=["first"]))
    await backend.tasks.cancel(parent.id, reason="enough")
    await backend.tasks.finish([Stopped(hold=hold_of(task))])


ENDS = {"dead": end_dead, "cancelled": end_cancelled, "stopped": end_stopped}


@pytest.mark.parametrize("how", ENDS)
async def test_a_parent_that_did_not_complete_cancels_what_waits_for_it_and_what_waits_for_that(
    backend: Backend, how: str
) -> None:
    parent, other = near("first"), near("other")
    child = near("then", after=(other, parent))
    grandchild = near("later", after=(child,))
    await backend.tasks.submit([parent, other, child, grandchild])
    await ENDS[how](backend, parent)
    state = (await get_one(backend, parent.id)).state
    task, last = await get_one(backend, child.id), await get_one(backend, grandchild.id)
    assert (task.state, last.state) == (TaskState.CANCELLED, TaskState.CANCELLED)
    assert parent.id in task.reason
    assert state in task.reason
    assert child.id in last.reason
    assert await log_of(backend, grandchild) == [("submitted", "blocked"), ("cancelled", "cancelled")]
    await run(backend, "other")
    assert await states_of(backend, child, grandchild) == [TaskState.CANCELLED] * 2
    assert await is_sound(backend)


@pytest.mark.parametrize("how", ENDS)
async def test_a_task_that_runs_anyway_waits_for_the_end_and_not_for_how(backend: Backend, how: str) -> None:
    parent, other = near("first"), near("other")
    child = near("then", after=(parent, other), runs_anyway=True)
    await backend.tasks.submit([parent, other, child])
    await ENDS[how](backend, parent)
    assert await state_of(backend, child) is TaskState.BLOCKED
    await run(backend, "other")
    assert (await run(backend, "then")).id == child.id


async def test_a_failure_that_is_tried_again_holds_the_child_back_and_no_more(
    backend: Backend, clock: ManualClock
) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    task = await start_one(backend, a_claimer(types=["first"]))
    await backend.tasks.finish([failed(task, retry_in_ms=1_000)])
    assert await state_of(backend, child) is TaskState.BLOCKED
    clock.advance(ms=1_001)
    await backend.tasks.sweep()
    await run(backend, "first")
    assert await state_of(backend, child) is TaskState.READY


async def test_a_parent_that_expires_or_dies_with_its_node_is_noticed_by_the_sweep(
    backend: Backend, clock: ManualClock
) -> None:
    late = near("late", expires_in_ms=5_000)
    deadly = near("deadly", policy=TaskPolicy(max_crashes=1))
    children = [
        near("then", after=(late,)),
        near("then", after=(deadly,)),
        near("anyway", after=(late,), runs_anyway=True),
    ]
    await backend.tasks.submit([late, deadly, *children])
    await crash(backend, await start_one(backend, a_claimer(types=["deadly"])))
    clock.advance(ms=5_001)
    report = await backend.tasks.sweep()
    assert report.settled == 3
    assert await states_of(backend, late, deadly) == [TaskState.EXPIRED, TaskState.DEAD]
    assert await states_of(backend, *children) == [TaskState.CANCELLED, TaskState.CANCELLED, TaskState.READY]


async def test_a_parent_that_had_failed_cancels_at_once_what_would_wait_for_it(backend: Backend) -> None:
    parent = near("first")
    await submit_one(backend, parent)
    await bury(backend, "first")
    child, anyway = near("then", after=(parent,)), near("anyway", after=(parent,), runs_anyway=True)
    grandchild = near("later", after=(child,))
    receipts = await backend.tasks.submit([child, anyway, grandchild])
    assert [receipt.state for receipt in receipts] == [TaskState.CANCELLED, TaskState.READY, TaskState.CANCELLED]
    assert parent.id in (await get_one(backend, child.id)).reason
    assert await log_of(backend, child) == [("submitted", "blocked"), ("cancelled", "cancelled")]
    assert await is_sound(backend)


async def test_a_redriven_parent_brings_no_child_back_and_may_be_waited_for_anew(backend: Backend) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    await bury(backend, "first")
    assert not (await backend.tasks.redrive(parent.id)).is_awaited
    new = near("new", after=(parent,))
    assert (await submit_one(backend, new)).state is TaskState.BLOCKED
    await run(backend, "first")
    assert await states_of(backend, child, new) == [TaskState.CANCELLED, TaskState.READY]
    assert await is_sound(backend)


async def test_a_redriven_child_waits_for_nobody(backend: Backend) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    await backend.tasks.cancel(child.id, reason="")
    again = await backend.tasks.redrive(child.id)
    assert (again.state, again.waits_for, again.depends_on) == (TaskState.READY, (), (parent.id,))
    await run(backend, "then")
    await run(backend, "first")
    assert await state_of(backend, child) is TaskState.COMPLETED
    assert await is_sound(backend)


async def test_a_delay_that_has_not_passed_is_waited_for_after_the_parents(
    backend: Backend, clock: ManualClock
) -> None:
    parent = near("first")
    child = near("then", after=(parent,), delay_ms=60_000)
    await backend.tasks.submit([parent, child])
    begun = clock()
    clock.advance(ms=10_000)
    await run(backend, "first")
    task = await get_one(backend, child.id)
    assert (task.state, task.due_ms) == (TaskState.SCHEDULED, begun + 60_000)
    assert await log_of(backend, child) == [("submitted", "blocked"), ("unblocked", "scheduled")]
    clock.advance(ms=50_001)
    await backend.tasks.sweep()
    assert await state_of(backend, child) is TaskState.READY


async def test_a_child_has_the_place_of_one_submitted_when_its_parents_were_done(
    backend: Backend, clock: ManualClock
) -> None:
    parent = near("first")
    early, late = near(after=(parent,)), near(after=(parent,))
    await backend.tasks.submit([parent, early, late])
    clock.advance(ms=7_000)
    before = near()
    await submit_one(backend, before)
    clock.advance(ms=1)
    await run(backend, "first")
    clock.advance(ms=1)
    after = near()
    await submit_one(backend, after)
    assert [task.id for task in await claim_all(backend)] == [before.id, early.id, late.id, after.id]
    assert (await get_one(backend, early.id)).due_ms == clock() - 1


async def test_a_blocked_task_can_be_cancelled_reordered_and_expires(backend: Backend, clock: ManualClock) -> None:
    parent = near("first")
    wanted, unwanted = near("wanted", after=(parent,)), near("unwanted", after=(parent,))
    mortal = near("mortal", after=(parent,), expires_in_ms=5_000)
    await backend.tasks.submit([parent, wanted, unwanted, mortal])
    urgent = await backend.tasks.reprioritize(wanted.id, Priority.CRITICAL)
    assert (urgent.state, urgent.priority) == (TaskState.BLOCKED, Priority.CRITICAL)
    assert (await backend.tasks.cancel(unwanted.id, reason="no")).state is TaskState.CANCELLED
    clock.advance(ms=5_001)
    assert (await backend.tasks.sweep()).expired == 1
    assert await is_sound(backend)
    await run(backend, "first")
    assert await states_of(backend, wanted, unwanted, mortal) == [
        TaskState.READY,
        TaskState.CANCELLED,
        TaskState.EXPIRED,
    ]
    assert (await get_one(backend, wanted.id)).vt == clock()
    assert list(await backend.tasks.purge([wanted.id, unwanted.id])) == [False, True]
    assert await is_sound(backend)


async def test_a_blocked_task_is_not_purged_and_a_purged_parent_is_not_forgotten_by_its_children(
    backend: Backend,
) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    assert list(await backend.tasks.purge([parent.id, child.id])) == [False, False]
    await run(backend, "first")
    assert list(await backend.tasks.purge([parent.id])) == [True]
    assert (await run(backend, "then")).id == child.id
    with pytest.raises(UnknownParentError):
        await submit_one(backend, near(after=(parent,)))


async def test_a_known_key_answers_with_its_task_whatever_it_would_wait_for(backend: Backend) -> None:
    key = "nightly"
    known = a_task("first", key=key)
    await submit_one(backend, known)
    again = a_task("first", key=key, after=[known.id[: -TAIL - 1] + "0" + known.id[-TAIL:]])
    receipt = await submit_one(backend, again)
    assert (receipt.created, receipt.task_id) == (False, known.id)


async def test_a_parent_of_the_same_call_that_is_known_by_its_key_is_the_one_waited_for(backend: Backend) -> None:
    known = a_task("first", key="k")
    await submit_one(backend, known)
    again = a_task("first", key="k")
    child = a_task("then", task_id=new_id(key="k"), after=[again.id])
    receipts = await backend.tasks.submit([again, child])
    assert [receipt.created for receipt in receipts] == [False, True]
    assert (await get_one(backend, child.id)).depends_on == (known.id,)
    await run(backend, "first")
    assert await state_of(backend, child) is TaskState.READY


async def test_a_repeated_submit_of_parent_and_child_changes_nothing(backend: Backend) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    receipts = await backend.tasks.submit([parent, child])
    assert not any(receipt.created for receipt in receipts)
    await run(backend, "first")
    receipts = await backend.tasks.submit([parent, child])
    assert [receipt.state for receipt in receipts] == [TaskState.COMPLETED, TaskState.READY]
    assert await is_sound(backend)


async def test_a_waiting_claimer_is_rung_when_a_child_becomes_ready(backend: Backend) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    waiting = a_claimer("n2", types=["then"])
    assert await claim_all(backend, waiting) == []
    await run(backend, "first")
    assert [task.id for task in await answer_bell(backend, waiting)] == [child.id]


async def test_a_placed_child_is_held_back_from_the_moment_it_is_ready(backend: Backend, clock: ManualClock) -> None:
    parent = near("first")
    child = near(after=(parent,), placement=meant_for("n1", hold_back_ms=1_000))
    pinned = near(after=(parent,), placement=pinned_to("n1"))
    await backend.tasks.submit([parent, child, pinned])
    clock.advance(ms=60_000)
    await backend.tasks.sweep()
    await run(backend, "first")
    assert await is_sound(backend)
    assert await claim_all(backend, a_claimer("n2")) == []
    clock.advance(ms=1_001)
    assert (await backend.tasks.sweep()).opened == 1
    assert [task.id for task in await claim_all(backend, a_claimer("n2"))] == [child.id]
    assert [task.id for task in await claim_all(backend, a_claimer("n1"))] == [pinned.id]


async def test_a_blocked_task_meant_for_a_node_that_died_is_open_to_all(backend: Backend) -> None:
    parent = near("first")
    child = near(after=(parent,), placement=meant_for("n1", hold_back_ms=60_000))
    await backend.tasks.submit([parent, child])
    await backend.tasks.reclaim("n1", up_to_incarnation=1)
    task = await get_one(backend, child.id)
    assert (task.state, task.placed_on) == (TaskState.BLOCKED, None)
    await run(backend, "first")
    assert [task.id for task in await claim_all(backend, a_claimer("n2"))] == [child.id]
    assert await is_sound(backend)


async def test_many_children_are_released_in_batches_and_all(backend: Backend) -> None:
    parent = near("first")
    await submit_one(backend, parent)
    children = [near("then", after=(parent,)) for _ in range(700)]
    for start in range(0, len(children), 200):
        await backend.tasks.submit(children[start : start + 200])
    await run(backend, "first")
    counts = await backend.tasks.counts()
    assert (counts[TaskState.READY], counts[TaskState.BLOCKED]) == (700, 0)
    assert await is_sound(backend)


async def test_a_long_chain_is_cancelled_to_its_end(backend: Backend) -> None:
    chain = [near("first")]
    for _ in range(600):
        chain.append(near("then", after=(chain[-1],)))
    for start in range(0, len(chain), 200):
        await backend.tasks.submit(chain[start : start + 200])
    await bury(backend, "first")
    assert (await backend.tasks.counts())[TaskState.CANCELLED] == 600
    assert await is_sound(backend)


async def test_parents_that_end_together_or_one_after_another_release_their_child_once(backend: Backend) -> None:
    parents = [near("first") for _ in range(100)]
    child = near("then", after=tuple(parents))
    await backend.tasks.submit([*parents, child])
    held = await claim_all(backend, a_claimer(types=["first"]))
    await backend.tasks.start([hold_of(task) for task in held])
    await asyncio.gather(
        backend.tasks.finish([completed(task) for task in held[:40]]),
        backend.tasks.finish([completed(task) for task in held[30:70]]),
        *(backend.tasks.finish([completed(task)]) for task in held[70:]),
    )
    assert await log_of(backend, child) == [("submitted", "blocked"), ("unblocked", "ready")]
    assert (await backend.tasks.counts())[TaskState.READY] == 1


async def test_a_diamond_runs_in_its_order(backend: Backend) -> None:
    top = near("top")
    sides = [near("side", after=(top,)) for _ in range(3)]
    bottom = near("bottom", after=tuple(sides))
    await backend.tasks.submit([top, *sides, bottom])
    everything = a_claimer(types=["top", "side", "bottom"])
    order: list[str] = []
    while tasks := await claim_all(backend, everything):
        await backend.tasks.start([hold_of(task) for task in tasks])
        await backend.tasks.finish([completed(task) for task in tasks])
        order += [task.type for task in tasks]
    assert order == ["top", "side", "side", "side", "bottom"]
    assert Counter(await states_of(backend, top, *sides, bottom)) == {TaskState.COMPLETED: 5}


async def test_an_ended_child_takes_no_cancel(backend: Backend) -> None:
    parent = near("first")
    child = near("then", after=(parent,))
    await backend.tasks.submit([parent, child])
    await run(backend, "first")
    await run(backend, "then")
    with pytest.raises(InvalidTransitionError):
        await backend.tasks.cancel(child.id, reason="")
