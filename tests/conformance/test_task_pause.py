"""Pausing a type or the whole mesh: nothing is handed out, nothing is lost, nothing changes its place."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import Outcome, Pauses, Priority, Released, Task, TaskState
from tests.conftest import OpenAgain
from tests.support.builders import (
    LEASE_MS,
    NOTHING,
    ONLY_SUSPECTS,
    a_claimer,
    a_suspect,
    a_task,
    answer_bell,
    claim_all,
    claim_one,
    completed,
    get_one,
    hold_of,
    meant_for,
    offer,
    start_one,
    submit_one,
)
from tests.support.waiting import wait_until

BOTH = a_claimer(types=["parse", "rank"])


async def test_a_mesh_begins_with_nothing_paused(backend: Backend) -> None:
    assert await backend.tasks.paused() == Pauses()


async def test_a_paused_type_is_not_handed_out_and_others_are(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse"), a_task("rank"), a_task("parse", requires=["rank"])])
    await backend.tasks.pause("parse")
    assert [task.type for task in await claim_all(backend, BOTH)] == ["rank"]
    assert (await backend.tasks.counts())[TaskState.READY] == 2


async def test_a_pause_of_one_type_leaves_types_that_begin_alike(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse.deep"), a_task("pars")])
    await backend.tasks.pause("parse")
    assert len(await claim_all(backend, a_claimer(types=["pars", "parse.deep"]))) == 2


async def test_a_capability_named_like_a_paused_type_is_not_paused(backend: Backend) -> None:
    await submit_one(backend, a_task("rank", requires=["parse"]))
    await backend.tasks.pause("parse")
    assert len(await claim_all(backend, a_claimer(types=["rank"], holds=["parse"]))) == 1


async def test_while_the_mesh_is_paused_nothing_is_handed_out(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse"), a_task("rank")])
    await backend.tasks.pause()
    assert await offer(backend, BOTH) == NOTHING
    await backend.tasks.submit([a_task("rank")])
    assert await offer(backend, BOTH) == NOTHING
    await backend.tasks.resume()
    served: list[Task] = []

    async def is_all_served() -> bool:
        served.extend(await claim_all(backend, BOTH))
        return len(served) == 3

    await wait_until(is_all_served)


async def test_pauses_are_read_back_by_every_process(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    for _ in range(2):
        await backend.tasks.pause("parse")
        await backend.tasks.pause("rank")
        await backend.tasks.pause()
    everything = Pauses(mesh=True, task_types=frozenset({"parse", "rank"}))
    assert await backend.tasks.paused() == await other.tasks.paused() == everything
    for _ in range(2):
        await other.tasks.resume("rank")
    assert await backend.tasks.paused() == Pauses(mesh=True, task_types=frozenset({"parse"}))


async def test_a_pause_outlives_whoever_set_it(open_again: OpenAgain) -> None:
    first = await open_again()
    await submit_one(first, a_task())
    await first.tasks.pause("work")
    await first.aclose()
    second = await open_again()
    assert await second.tasks.paused() == Pauses(task_types=frozenset({"work"}))
    assert await claim_all(second) == []


async def test_resuming_the_mesh_leaves_paused_types_paused(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse"), a_task("rank")])
    await backend.tasks.pause("parse")
    await backend.tasks.pause()
    await backend.tasks.resume()
    assert [task.type for task in await claim_all(backend, BOTH)] == ["rank"]


async def test_resuming_a_type_leaves_a_paused_mesh_paused(backend: Backend) -> None:
    await submit_one(backend, a_task("parse"))
    await backend.tasks.pause("parse")
    await backend.tasks.pause()
    await backend.tasks.resume("parse")
    assert await claim_all(backend, BOTH) == []


async def test_resuming_what_is_not_paused_changes_nothing(backend: Backend) -> None:
    await backend.tasks.resume("parse")
    await backend.tasks.resume()
    assert await backend.tasks.paused() == Pauses()


@pytest.mark.parametrize("task_type", ["parse", None], ids=["type", "mesh"])
async def test_the_order_after_a_pause_is_what_it_would_have_been(
    backend: Backend, clock: ManualClock, task_type: str | None
) -> None:
    await backend.tasks.pause(task_type)
    expected: list[tuple[int, str]] = []
    for step in range(20):
        new = a_task(["parse", "rank"][step % 2], priority=list(Priority)[step % 5])
        await submit_one(backend, new)
        expected.append(((await get_one(backend, new.id)).vt, new.id))
        clock.advance(ms=7_000)
    await backend.tasks.resume(task_type)
    assert [task.id for task in await claim_all(backend, BOTH)] == [task_id for _, task_id in sorted(expected)]


async def test_paused_tasks_at_the_head_do_not_hide_those_behind(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.pause("parse")
    await backend.tasks.submit([a_task("parse", priority=Priority.CRITICAL) for _ in range(200)])
    clock.advance(ms=1)
    last = a_task("rank", priority=Priority.BACKGROUND)
    await submit_one(backend, last)
    assert [task.id for task in await claim_all(backend, BOTH, limit=1)] == [last.id]


async def test_running_tasks_go_on_to_their_end(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    running, claimed = await start_one(backend), await claim_one(backend)
    await backend.tasks.pause("work")
    await backend.tasks.pause()
    assert list(await backend.tasks.renew([hold_of(running)], lease_ms=LEASE_MS)) == [Outcome.OK]
    assert await backend.tasks.progress(hold_of(running), fraction=0.5, note="") is Outcome.OK
    assert list(await backend.tasks.start([hold_of(claimed)])) == [Outcome.OK]
    outcomes = await backend.tasks.finish([completed(running), Released(hold=hold_of(claimed))])
    assert list(outcomes) == [Outcome.OK, Outcome.OK]
    assert await claim_all(backend) == []


async def test_a_paused_suspect_is_not_announced(backend: Backend) -> None:
    await a_suspect(backend)
    await backend.tasks.pause("work")
    assert await offer(backend) == await offer(backend, alone=True) == NOTHING
    await backend.tasks.resume("work")
    assert await offer(backend) == ONLY_SUSPECTS
    await backend.tasks.pause()
    assert await offer(backend) == await offer(backend, alone=True) == NOTHING


async def test_a_placed_task_is_paused_like_any_other(backend: Backend) -> None:
    await submit_one(backend, a_task(placement=meant_for("n1")))
    await backend.tasks.pause("work")
    assert await claim_all(backend, a_claimer("n1")) == []
    await backend.tasks.resume("work")
    assert len(await claim_all(backend, a_claimer("n1"))) == 1


async def test_time_goes_on_for_paused_tasks(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await backend.tasks.pause()
    overdue, due, placed = a_task(expires_in_ms=600), a_task(delay_ms=600), a_task(placement=meant_for("n9"))
    await backend.tasks.submit([overdue, due, placed])
    for _ in range(3):
        clock.advance(ms=500)
        await backend.tasks.sweep()
    assert (await get_one(backend, overdue.id)).state is TaskState.EXPIRED
    assert (await get_one(backend, due.id)).state is TaskState.READY
    assert (await get_one(backend, placed.id)).placed_on is None


@pytest.mark.parametrize("task_type", ["work", None], ids=["type", "mesh"])
async def test_resuming_rings_who_waits(backend: Backend, open_again: OpenAgain, task_type: str | None) -> None:
    other = await open_again()
    await backend.tasks.pause(task_type)
    new = a_task()
    await submit_one(backend, new)
    assert await claim_all(other) == []
    await backend.tasks.resume(task_type)
    assert [task.id for task in await answer_bell(other)] == [new.id]


async def test_what_is_submitted_during_a_pause_is_handed_to_nobody(backend: Backend) -> None:
    claimer, new = a_claimer(), a_task()
    assert await claim_all(backend, claimer) == []
    await backend.tasks.pause("work")
    await submit_one(backend, new)
    wake = await backend.tasks.wait_for_work(claimer, timeout_ms=50)
    assert wake.tasks == ()
    assert (await get_one(backend, new.id)).state is TaskState.READY
    assert await claim_all(backend, claimer) == []
    await backend.tasks.resume("work")
    assert [task.id for task in await answer_bell(backend, claimer)] == [new.id]


async def test_paused_work_can_be_cancelled_and_changed(backend: Backend) -> None:
    first, second = a_task(), a_task()
    await backend.tasks.submit([first, second])
    await backend.tasks.pause("work")
    assert (await backend.tasks.cancel(first.id, reason="no")).state is TaskState.CANCELLED
    await backend.tasks.reprioritize(second.id, Priority.CRITICAL)
    await backend.tasks.resume("work")
    assert [task.priority for task in await claim_all(backend)] == [Priority.CRITICAL]
