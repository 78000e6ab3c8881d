"""The audit of a healthy store finds nothing, whatever its tasks went through."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.ids import new_id
from meshd.tasks.audit import AuditPage, Finding
from meshd.tasks.model import Priority, Released, TaskPolicy, TaskState
from tests.support.builders import (
    a_claimer,
    a_suspect,
    a_task,
    claim_all,
    claim_one,
    completed,
    crash,
    failed,
    hold_of,
    meant_for,
    pinned_to,
    start_one,
    submit_one,
)


async def audit(backend: Backend, *, repair: bool = False) -> tuple[int, list[Finding]]:
    """Read every page; return how many tasks were looked at, and what was found."""
    page = await backend.tasks.audit(repair=repair)
    checked, findings = page.checked, list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=repair, cursor=page.cursor)
        checked += page.checked
        findings.extend(page.findings)
    return checked, findings


async def live_a_little(backend: Backend, clock: ManualClock) -> None:
    """Put tasks into every state, by every way there is."""
    await backend.tasks.sweep()
    await a_suspect(backend)
    await crash(backend, await start_one(backend, alone=True))
    await a_suspect(backend, a_task(policy=TaskPolicy(max_crashes=1), key="dead"))
    root = new_id(key="family")
    here, gpu = a_claimer("here"), a_claimer("n2", types=["work", "rank"], holds=["gpu", "zone=eu"])
    await backend.tasks.submit(
        [
            *(a_task(priority=priority, key=f"k{priority}") for priority in Priority),
            *(a_task("rank", requires=["gpu", "zone=eu"]) for _ in range(6)),
            a_task(delay_ms=400),
            a_task(delay_ms=40_000, placement=meant_for("here")),
            a_task(expires_in_ms=450),
            a_task(expires_in_ms=90_000, key="late"),
            a_task(placement=meant_for("here", hold_back_ms=300)),
            a_task(placement=meant_for("here", hold_back_ms=90_000)),
            *(a_task(placement=pinned_to("here")) for _ in range(3)),
            *(a_task("nobody") for _ in range(3)),
            a_task("nobody", task_id=root),
            a_task(task_id=new_id(key="family"), after=[root], placement=meant_for("here")),
            a_task(task_id=new_id(key="family"), after=[root], delay_ms=70_000),
        ]
    )
    first, second, third, fourth, fifth, sixth, *_ = held = await claim_all(backend, gpu, limit=9)
    await backend.tasks.start([hold_of(task) for task in held[:7]])
    await backend.tasks.cancel(fifth.id, reason="no")
    await backend.tasks.finish(
        [
            completed(first),
            completed(sixth),
            failed(second, retry_in_ms=200),
            failed(third, retry_in_ms=None),
            Released(hold=hold_of(fourth)),
            Released(hold=hold_of(fifth)),
        ]
    )
    await backend.tasks.redrive(third.id)
    await claim_one(backend, here)
    await backend.tasks.reconcile(here, known=[])
    clock.advance(ms=500)
    await backend.tasks.sweep()
    waiting = await submit_one(backend, a_task(delay_ms=70_000))
    await backend.tasks.reprioritize(waiting.task_id, Priority.CRITICAL)
    await backend.tasks.purge([first.id])
    await backend.tasks.pause("rank")


async def test_an_empty_store_is_healthy(backend: Backend) -> None:
    assert await backend.tasks.audit(repair=False) == AuditPage()


@pytest.mark.parametrize("repair", [False, True], ids=["look", "repair"])
async def test_a_healthy_store_has_no_findings_in_any_state(backend: Backend, clock: ManualClock, repair: bool) -> None:
    await live_a_little(backend, clock)
    counts = await backend.tasks.counts()
    assert {state for state, count in counts.items() if count} == set(TaskState)
    assert await audit(backend, repair=repair) == (sum(counts.values()), [])
    assert await backend.tasks.counts() == counts


@pytest.mark.parametrize("how", ["reclaimed", "cancelled", "redriven", "cancelled before its claim"])
async def test_a_token_raised_without_a_claim_is_no_finding(backend: Backend, how: str) -> None:
    new = a_task()
    await submit_one(backend, new)
    if how != "cancelled before its claim":
        await claim_one(backend)
    if how == "reclaimed":
        await backend.tasks.reclaim("n1", up_to_incarnation=1)
    else:
        await backend.tasks.cancel(new.id, reason="no")
    if how == "redriven":
        await backend.tasks.redrive(new.id)
    assert await audit(backend) == (1, [])


async def test_a_repair_of_a_healthy_store_changes_no_task_and_no_order(backend: Backend, clock: ManualClock) -> None:
    await live_a_little(backend, clock)
    ids = [event.body["task"] for event in await backend.events.read("tasks", limit=5_000)]
    before = await backend.tasks.get(ids[:200])
    await audit(backend, repair=True)
    assert await backend.tasks.get(ids[:200]) == before
    served = await claim_all(backend, a_claimer("here"))
    assert [task.vt for task in served] == sorted(task.vt for task in served)
    await backend.tasks.resume("rank")
    assert len(await claim_all(backend, a_claimer("n3", types=["rank"], holds=["gpu", "zone=eu"]))) > 0


async def test_an_audit_of_many_tasks_is_bounded_per_call_and_looks_at_each_once(backend: Backend) -> None:
    for batch in range(4):
        await backend.tasks.submit([a_task(key=f"k{batch}-{number}") for number in range(200)])
    pages = [await backend.tasks.audit(repair=False)]
    while (cursor := pages[-1].cursor) is not None:
        pages.append(await backend.tasks.audit(repair=False, cursor=cursor))
    assert sum(page.checked for page in pages) == 800
    assert max(page.checked for page in pages) < 800
    assert not any(page.findings for page in pages)


async def test_an_audit_after_the_ended_were_forgotten_finds_nothing(backend: Backend, clock: ManualClock) -> None:
    await live_a_little(backend, clock)
    for _ in range(3):
        clock.advance(seconds=30 * 86_400)
        while (await backend.tasks.sweep()).more:
            pass
    counts = await backend.tasks.counts()
    assert sum(counts[state] for state in TaskState if state.is_terminal) == 0
    assert await audit(backend) == (sum(counts.values()), [])
