"""Indexes broken by hand: the audit names the breach, a repair mends it, and the tasks go their way again."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import ManualClock
from meshd.errors import InvalidArgumentError
from meshd.tasks.audit import Finding, Invariant
from meshd.tasks.model import Released, Task, TaskFilter, TaskState
from tests.support.builders import (
    LEASE_MS,
    a_claimer,
    a_suspect,
    a_task,
    claim_all,
    completed,
    failed,
    hold_of,
    meant_for,
    pinned_to,
    start_one,
    submit_one,
)

SERVES_ALL = a_claimer("here", types=["work", "rank", "end"], holds=["gpu"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.db"


@pytest.fixture
async def backend(path: Path, clock: ManualClock) -> AsyncIterator[Backend]:
    """A store with a task in each kind of place."""
    backend = await open_backend(f"sqlite:///{path}", BackendOptions(clock=clock))
    await a_suspect(backend, a_task("rank"), claimer=a_claimer("n0", types=["rank"]))
    await backend.tasks.submit([a_task("end"), a_task("end")])
    done, dead = await claim_all(backend, a_claimer("there", types=["end"]))
    await backend.tasks.start([hold_of(done), hold_of(dead)])
    await backend.tasks.finish([completed(done), failed(dead, retry_in_ms=None)])
    await backend.tasks.submit([a_task(), a_task()])
    held = await claim_all(backend, a_claimer("there"))
    await backend.tasks.start([hold_of(held[0])])
    await backend.tasks.submit(
        [
            a_task(key="k"),
            a_task(requires=["gpu"]),
            a_task(delay_ms=30_000),
            a_task(placement=meant_for("here", hold_back_ms=2_000)),
            a_task(placement=pinned_to("here")),
        ]
    )
    yield backend
    await backend.aclose()


def break_by_hand(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, f"{statement} breaks nothing"


async def audit(backend: Backend, *, repair: bool = False) -> list[Finding]:
    page = await backend.tasks.audit(repair=repair)
    findings = list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=repair, cursor=page.cursor)
        findings += page.findings
    return findings


async def all_tasks(backend: Backend) -> dict[str, Task]:
    return {task.id: task for task in (await backend.tasks.list(TaskFilter(), limit=100)).tasks}


DERIVED = {
    "a ready task in no queue": ("UPDATE tasks SET lane = NULL WHERE lane = ''", Invariant.HAS_A_VISITOR),
    "an open task in a node's lane": ("UPDATE tasks SET lane = '@gone' WHERE lane = ''", Invariant.HAS_A_VISITOR),
    "a suspect among the others": ("UPDATE tasks SET lane = '' WHERE lane = '!'", Invariant.HAS_A_VISITOR),
    "a pinned task open to all": ("UPDATE tasks SET lane = '' WHERE lane = '@here'", Invariant.HAS_A_VISITOR),
    "a running task in a queue": ("UPDATE tasks SET lane = '' WHERE state = 'running'", Invariant.ONE_PLACE),
    "an ended task in a queue": ("UPDATE tasks SET lane = '' WHERE state = 'dead'", Invariant.ONE_PLACE),
    "a hold-back without an end": ("UPDATE tasks SET open_ms = NULL WHERE open_ms > 0", Invariant.HAS_A_VISITOR),
    "a pinned task that opens": (
        "UPDATE tasks SET open_ms = 1 WHERE lane = '@here' AND open_ms IS NULL",
        Invariant.ONE_PLACE,
    ),
    "an ended task kept for ever": ("UPDATE tasks SET forget_ms = NULL WHERE state = 'dead'", Invariant.ONE_PLACE),
    "an open task to be forgotten": ("UPDATE tasks SET forget_ms = 1 WHERE lane = ''", Invariant.ONE_PLACE),
    "a lease of a ready task": ("UPDATE tasks SET lease_until_ms = 9 WHERE lane = ''", Invariant.HELD_MEANS_LEASED),
    "a hold without a lease": (
        "UPDATE tasks SET lease_until_ms = 0 WHERE state = 'claimed'",
        Invariant.HELD_MEANS_LEASED,
    ),
    "a queue nobody sees": ("DELETE FROM queues WHERE lane = '' AND route = 'work'", Invariant.HAS_A_VISITOR),
    "a lane nobody sees": ("DELETE FROM queues WHERE lane = '@here'", Invariant.HAS_A_VISITOR),
    "no queue at all": ("DELETE FROM queues", Invariant.HAS_A_VISITOR),
    "a queue served too late": ("UPDATE queues SET head_vt = head_vt + 1", Invariant.HAS_A_VISITOR),
    "a counter too high": ("UPDATE task_counts SET tasks = tasks + 1 WHERE state = 'ready'", Invariant.COUNTS_AGREE),
    "a counter lost": ("DELETE FROM task_counts WHERE state = 'running'", Invariant.COUNTS_AGREE),
    "a counter of nothing": (
        "INSERT INTO task_counts (mesh, state, tasks) VALUES (1, 'blocked', 7)",
        Invariant.COUNTS_AGREE,
    ),
    "a fence below a token": ("UPDATE meshes SET token = 1", Invariant.TOKENS_RISE),
    "a payload without a task": ("INSERT INTO payloads (seq, payload) VALUES (999, x'00')", Invariant.NO_STRAYS),
    "a log that lost its place": ("DELETE FROM logs WHERE name = 'tasks'", Invariant.NO_STRAYS),
    "a log that went back": ("UPDATE logs SET newest = 3 WHERE name = 'tasks'", Invariant.NO_STRAYS),
    "keys without their index": ("DROP INDEX tasks_idempotency", Invariant.ONE_TASK_PER_KEY),
    "a lost index": ("DROP INDEX tasks_ready", Invariant.HAS_A_VISITOR),
}


@pytest.mark.parametrize(("statement", "invariant"), DERIVED.values(), ids=list(DERIVED))
async def test_a_broken_index_is_found_and_mended(
    backend: Backend, path: Path, statement: str, invariant: Invariant
) -> None:
    assert await audit(backend) == []
    before, counts = await all_tasks(backend), await backend.tasks.counts()
    break_by_hand(path, statement)
    found = await audit(backend)
    assert {finding.invariant for finding in found} == {invariant}
    assert not any(finding.repaired for finding in found)
    mended = await audit(backend, repair=True)
    assert [(finding.subject, finding.repaired) for finding in mended] == [(each.subject, True) for each in found]
    assert await audit(backend) == []
    assert await backend.tasks.counts() == counts
    after = await all_tasks(backend)
    held = {task_id for task_id, task in before.items() if task.state.is_held}
    assert {task_id: after[task_id] for task_id in after.keys() - held} == {
        task_id: before[task_id] for task_id in before.keys() - held
    }


@pytest.mark.parametrize("statement", [statement for statement, _ in DERIVED.values()], ids=list(DERIVED))
async def test_after_a_repair_every_task_is_served(
    backend: Backend, path: Path, clock: ManualClock, statement: str
) -> None:
    break_by_hand(path, statement)
    await audit(backend, repair=True)
    await submit_one(backend, a_task())
    (suspect,) = (await backend.tasks.claim(SERVES_ALL, limit=9, lease_ms=LEASE_MS, alone=True)).tasks
    served = await claim_all(backend, SERVES_ALL)
    assert len(served) == 5
    await backend.tasks.finish([Released(hold=hold_of(task)) for task in (suspect, *served)])
    while clock() < 1_700_000_000_000 + 60_000:
        await backend.tasks.sweep()
        clock.advance(ms=900)
    assert len(await claim_all(backend, SERVES_ALL)) + len(await claim_all(backend, SERVES_ALL)) >= 7
    assert await audit(backend) == []


async def test_a_repaired_queue_wakes_who_waits(backend: Backend, path: Path) -> None:
    break_by_hand(path, "UPDATE tasks SET lane = NULL WHERE lane = '@here'")
    assert len(await claim_all(backend, SERVES_ALL)) == 2
    await audit(backend, repair=True)
    assert (await backend.tasks.wait_for_work(SERVES_ALL, timeout_ms=5_000)).rang
    assert len(await claim_all(backend, SERVES_ALL)) == 2


RECORDS = {
    "a payload lost": ("DELETE FROM payloads WHERE seq = (SELECT seq FROM tasks WHERE lane = '!')", "HAS_A_VISITOR"),
    "a holder lost": ("UPDATE tasks SET node_id = NULL WHERE state = 'running'", "HELD_MEANS_LEASED"),
    "a result lost": ("UPDATE tasks SET result = NULL WHERE state = 'completed'", "ONE_END"),
}


@pytest.mark.parametrize(("statement", "invariant"), RECORDS.values(), ids=list(RECORDS))
async def test_what_is_no_index_is_named_and_left_alone(
    backend: Backend, path: Path, statement: str, invariant: str
) -> None:
    break_by_hand(path, statement)
    for _ in range(2):
        (finding,) = await audit(backend, repair=True)
        assert (finding.invariant, finding.repaired) == (Invariant[invariant], False)


async def test_keys_used_twice_keep_their_index_from_being_made(backend: Backend, path: Path) -> None:
    twice = "UPDATE tasks SET idempotency_key = 'k' WHERE state = 'scheduled'"
    break_by_hand(path, "DROP INDEX tasks_idempotency", twice)
    (finding,) = await audit(backend, repair=True)
    assert (finding.invariant, finding.repaired) == (Invariant.ONE_TASK_PER_KEY, False)


async def test_counts_are_compared_while_tasks_move(backend: Backend) -> None:
    for _ in range(5):
        await backend.tasks.submit([a_task() for _ in range(200)])
    page, pages = await backend.tasks.audit(repair=False), 1
    while page.cursor is not None:
        await backend.tasks.submit([a_task(task_id=f"0{pages}"), a_task()])
        task = await start_one(backend, SERVES_ALL)
        await backend.tasks.finish([completed(task)])
        if pages == 3:
            await backend.tasks.purge([task.id])
        page, pages = await backend.tasks.audit(repair=False, cursor=page.cursor), pages + 1
        assert not page.findings
    assert pages > 3


async def test_a_counter_broken_during_an_audit_of_a_mesh_at_work_is_found(backend: Backend, path: Path) -> None:
    await backend.tasks.submit([a_task() for _ in range(200)])
    await backend.tasks.submit([a_task() for _ in range(200)])
    page = await backend.tasks.audit(repair=True)
    await claim_all(backend, SERVES_ALL, limit=20)
    break_by_hand(path, "UPDATE task_counts SET tasks = tasks - 5 WHERE state = 'claimed'")
    findings = list((await backend.tasks.audit(repair=True, cursor=page.cursor)).findings)
    assert [(finding.invariant, finding.subject) for finding in findings] == [(Invariant.COUNTS_AGREE, "claimed")]
    assert (await backend.tasks.counts())[TaskState.CLAIMED] == 21
    assert await audit(backend) == []


async def test_of_two_audits_at_once_neither_finds_what_is_not_there(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(200)])
    await backend.tasks.submit([a_task() for _ in range(200)])
    first = await backend.tasks.audit(repair=True)
    second = await backend.tasks.audit(repair=True)
    for page in (first, second):
        assert not page.findings
        following = await backend.tasks.audit(repair=True, cursor=page.cursor)
        assert (following.findings, following.cursor) == ((), None)


async def test_an_audit_beside_workers_finds_nothing(path: Path, backend: Backend) -> None:
    other = await open_backend(f"sqlite:///{path}", BackendOptions())

    async def work() -> None:
        for _ in range(12):
            await other.tasks.submit([a_task() for _ in range(50)])
            held = await claim_all(other, SERVES_ALL, limit=45)
            await other.tasks.start([hold_of(task) for task in held])
            await other.tasks.finish([completed(task) for task in held[5:]])
            await other.tasks.finish([failed(task, retry_in_ms=number) for number, task in enumerate(held[:5])])
            await other.tasks.sweep()

    working = asyncio.create_task(work())
    while not working.done():
        assert await audit(backend, repair=True) == []
    await working
    assert await audit(backend) == []
    await other.aclose()


async def test_a_cursor_of_something_else_is_refused(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError):
        await backend.tasks.audit(repair=False, cursor="17")
