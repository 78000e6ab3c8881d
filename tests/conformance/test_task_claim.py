"""Who gets which task, and in what order."""

import asyncio
from collections import Counter

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import Priority, Receipt, Task, TaskState
from meshd.tasks.routing import OFFSETS_MS
from tests.conftest import OpenAgain
from tests.support.builders import (
    LEASE_MS,
    NOTHING,
    a_claimer,
    a_task,
    answer_bell,
    claim,
    claim_all,
    claim_one,
    get_one,
    offer,
    submit_one,
)

PRIORITIES = list(Priority)


async def test_a_claim_names_its_holder_and_its_lease(backend: Backend, clock: ManualClock) -> None:
    new = a_task()
    await submit_one(backend, new)
    task = await claim_one(backend, a_claimer("n7", incarnation=3))
    assert (task.state, task.node_id, task.incarnation, task.claims) == (TaskState.CLAIMED, "n7", 3, 1)
    assert task.lease_until_ms == clock() + LEASE_MS
    assert task.token > 0
    assert await get_one(backend, new.id) == task


async def test_a_claim_tells_the_stores_time(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    for _ in range(3):
        clock.advance(ms=5)
        assert (await claim(backend)).now_ms == clock()
        assert (await claim(backend, alone=True)).now_ms == clock()


async def test_a_claim_from_an_empty_mesh_returns_nothing(backend: Backend) -> None:
    assert await offer(backend) == NOTHING


async def test_tasks_submitted_together_are_served_by_priority(backend: Backend) -> None:
    await backend.tasks.submit([a_task(priority=priority) for priority in reversed(PRIORITIES)])
    assert [task.priority for task in await claim_all(backend)] == PRIORITIES


async def test_one_claim_call_after_another_keeps_the_order(backend: Backend) -> None:
    await backend.tasks.submit([a_task(priority=priority) for priority in reversed(PRIORITIES)])
    assert [(await claim_one(backend)).priority for _ in PRIORITIES] == PRIORITIES


async def test_within_a_priority_the_older_task_is_served_first(backend: Backend, clock: ManualClock) -> None:
    ids: list[str] = []
    for _ in range(10):
        ids.append((await submit_one(backend, a_task())).task_id)
        clock.advance(ms=1)
    assert [task.id for task in await claim_all(backend)] == ids


async def test_a_batch_of_one_priority_is_served_in_its_order(backend: Backend) -> None:
    batch = [a_task() for _ in range(50)]
    await backend.tasks.submit(batch)
    first, rest = await claim_all(backend, limit=10), await claim_all(backend)
    assert [task.id for task in [*first, *rest]] == [new.id for new in batch]


async def test_tasks_of_several_routes_are_merged_by_virtual_time(backend: Backend, clock: ManualClock) -> None:
    kinds = ["parse", "rank", "store"]
    for step in range(60):
        await submit_one(backend, a_task(kinds[step % 3], priority=PRIORITIES[step % 5]))
        clock.advance(ms=2_500)
    claimer = a_claimer(types=kinds)
    served: list[Task] = []
    while batch := await claim_all(backend, claimer, limit=7):
        served.extend(batch)
    assert len(served) == 60
    assert [task.vt for task in served] == sorted(task.vt for task in served)


async def test_a_claimer_of_half_of_many_routes_is_served_in_order_past_a_cancelled_task(
    backend: Backend, clock: ManualClock
) -> None:
    kinds = [f"kind-{number:02}" for number in range(40)]
    receipts: list[Receipt] = []
    for kind in [*kinds, kinds[10], kinds[0]]:
        receipts.append(await submit_one(backend, a_task(kind)))
        clock.advance(ms=1)
    await backend.tasks.cancel(receipts[10].task_id, reason="not wanted")
    served = await claim_all(backend, a_claimer(types=kinds[::2]), limit=10)
    assert [task.type for task in served] == [f"kind-{number:02}" for number in (0, 2, 4, 6, 8, 12, 14, 16, 18, 20)]


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_tasks_of_many_routes_are_served_in_order_by_claims_of_any_size(
    backend: Backend, clock: ManualClock, limit: int
) -> None:
    kinds = [f"kind-{number:02}" for number in range(20)]
    for step in range(60):
        await submit_one(backend, a_task(kinds[step * step % 20], priority=PRIORITIES[step % 5]))
        clock.advance(ms=step % 3 * 5_000)
    served: list[Task] = []
    while batch := await claim_all(backend, a_claimer(types=kinds), limit=limit):
        served.extend(batch)
    assert len(served) == 60
    assert [task.vt for task in served] == sorted(task.vt for task in served)


@pytest.mark.parametrize("priority", PRIORITIES[1:])
async def test_a_task_is_overtaken_by_urgent_ones_only_within_its_offset(
    backend: Backend, clock: ManualClock, priority: Priority
) -> None:
    patient = a_task(priority=priority)
    await submit_one(backend, patient)
    clock.advance(ms=OFFSETS_MS[priority] - 1)
    in_time = a_task(priority=Priority.CRITICAL)
    await submit_one(backend, in_time)
    clock.advance(ms=2)
    too_late = a_task(priority=Priority.CRITICAL)
    await submit_one(backend, too_late)
    assert [task.id for task in await claim_all(backend)] == [in_time.id, patient.id, too_late.id]


async def test_the_limit_of_a_claim_is_respected(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(5)])
    assert len(await claim_all(backend, limit=3)) == 3
    assert len(await claim_all(backend, limit=3)) == 2


async def test_a_claimer_gets_only_types_it_handles(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse"), a_task("rank")])
    assert [task.type for task in await claim_all(backend, a_claimer(types=["rank"]))] == ["rank"]
    assert await claim_all(backend, a_claimer(types=["rank"])) == []


async def test_a_claimer_needs_every_required_capability(backend: Backend) -> None:
    await submit_one(backend, a_task(requires=["gpu", "german"]))
    assert await claim_all(backend, a_claimer("n1", holds=["gpu"])) == []
    assert await claim_all(backend, a_claimer("n2", holds=["german"])) == []
    assert len(await claim_all(backend, a_claimer("n3", holds=["german", "gpu"]))) == 1


async def test_more_capabilities_than_required_are_no_obstacle(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task(requires=["gpu"])])
    assert len(await claim_all(backend, a_claimer(holds=["gpu", "german", "fast"]))) == 2


async def test_requirements_in_any_order_are_the_same_route(backend: Backend) -> None:
    await backend.tasks.submit([a_task(requires=["b", "a"]), a_task(requires=["a", "b", "a"])])
    claimed = await claim_all(backend, a_claimer(holds=["a", "b"]))
    assert len({task.route for task in claimed}) == 1
    assert len(claimed) == 2


async def test_a_task_waits_until_a_capable_claimer_comes(backend: Backend) -> None:
    new = a_task("rare", requires=["telescope"])
    await submit_one(backend, new)
    assert await claim_all(backend, a_claimer("n1")) == []
    late = a_claimer("n2", types=["rare"], holds=["telescope"])
    assert (await claim_one(backend, late)).id == new.id


async def test_a_route_first_seen_after_the_claimer_is_served_to_it(backend: Backend) -> None:
    claimer = a_claimer(types=["work", "other"], holds=["x"])
    assert await claim_all(backend, claimer) == []
    await backend.tasks.submit([a_task("other", requires=["x"]), a_task("work", requires=["x"])])
    assert len(await answer_bell(backend, claimer)) == 2


async def test_a_claimer_that_learns_a_capability_gets_its_tasks(backend: Backend) -> None:
    await submit_one(backend, a_task(requires=["gpu"]))
    assert await claim_all(backend, a_claimer("n1")) == []
    assert len(await claim_all(backend, a_claimer("n1", holds=["gpu"]))) == 1


async def test_no_task_is_ever_handed_to_two_claimers(backend: Backend, open_again: OpenAgain) -> None:
    backends = [backend, *[await open_again() for _ in range(3)]]
    for _ in range(2):
        await backend.tasks.submit([a_task() for _ in range(100)])

    async def claim_until_empty(number: int) -> list[Task]:
        mine: list[Task] = []
        claimer = a_claimer(f"n{number}")
        while batch := await claim_all(backends[number % 4], claimer, limit=3):
            mine.extend(batch)
        return mine

    shares = await asyncio.gather(*(claim_until_empty(number) for number in range(12)))
    claims = Counter(task.id for share in shares for task in share)
    assert len(claims) == 200
    assert set(claims.values()) == {1}


async def test_many_claimers_of_one_task_have_one_winner(backend: Backend, open_again: OpenAgain) -> None:
    backends = [backend, *[await open_again() for _ in range(3)]]
    await submit_one(backend, a_task())
    answers = await asyncio.gather(*(claim_all(backends[number % 4], a_claimer(f"n{number}")) for number in range(16)))
    assert sum(len(answer) for answer in answers) == 1


async def test_an_overdue_task_is_expired_and_not_handed_out(backend: Backend, clock: ManualClock) -> None:
    overdue, fresh = a_task(expires_in_ms=1_000), a_task()
    await backend.tasks.submit([overdue, fresh])
    clock.advance(ms=1_001)
    assert [task.id for task in await claim_all(backend)] == [fresh.id]
    assert (await get_one(backend, overdue.id)).state is TaskState.EXPIRED


async def test_overdue_tasks_do_not_use_up_the_limit(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.submit([a_task(expires_in_ms=1_000) for _ in range(30)])
    fresh = a_task()
    await submit_one(backend, fresh)
    clock.advance(ms=1_001)
    claimed: list[Task] = []
    for _ in range(10):
        claimed += await claim_all(backend, limit=2)
    assert [task.id for task in claimed] == [fresh.id]


async def test_tokens_rise_from_claim_to_claim(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    tokens: list[int] = []
    for round_ in range(5):
        tokens.append((await claim_one(backend)).token)
        await backend.tasks.reclaim("n1", up_to_incarnation=1)
        clock.advance(ms=round_)
    assert tokens == sorted(set(tokens))
