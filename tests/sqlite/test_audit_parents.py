"""The audit of tasks that wait: whoever would not hear of an end is found, and hears of it once that is mended."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import ManualClock
from meshd.tasks.audit import Finding, Invariant
from meshd.tasks.model import NewTask, TaskState
from tests.support.builders import a_claimer, a_task, completed, get_one, start_one

Family = tuple[NewTask, NewTask, NewTask]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.db"


@pytest.fixture
async def backend(path: Path, clock: ManualClock) -> AsyncIterator[Backend]:
    backend = await open_backend(f"sqlite:///{path}", BackendOptions(clock=clock))
    yield backend
    await backend.aclose()


@pytest.fixture
async def family(backend: Backend) -> Family:
    """A parent, its child, and one that runs anyway."""
    parent = a_task("first")
    child, anyway = a_task("then", after=[parent.id]), a_task("then", after=[parent.id], runs_anyway=True)
    await backend.tasks.submit([parent, child, anyway])
    assert await audit(backend) == []
    return parent, child, anyway


async def audit(backend: Backend, *, repair: bool = False) -> list[Finding]:
    page = await backend.tasks.audit(repair=repair)
    findings = list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=repair, cursor=page.cursor)
        findings += page.findings
    return findings


def by_hand(path: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount != 0, f"{statement} changes nothing"


async def complete(backend: Backend) -> None:
    await backend.tasks.finish([completed(await start_one(backend, a_claimer(types=["first"])))])


UNAWAITED = "UPDATE tasks SET life = x'5b5d' WHERE route = 'first'"
"""The parent forgets that others wait for it."""


@pytest.mark.parametrize("harm", ["DELETE FROM children", UNAWAITED])
async def test_a_parent_that_forgot_its_children_is_reminded(
    backend: Backend, path: Path, family: Family, harm: str
) -> None:
    _, child, anyway = family
    by_hand(path, harm)
    found = await audit(backend)
    assert {(finding.invariant, finding.subject) for finding in found} == {
        (Invariant.HAS_A_VISITOR, child.id),
        (Invariant.HAS_A_VISITOR, anyway.id),
    }
    assert all(finding.repaired for finding in await audit(backend, repair=True))
    assert await audit(backend) == []
    await complete(backend)
    assert {(await get_one(backend, new.id)).state for new in (child, anyway)} == {TaskState.READY}
    assert await audit(backend) == []


@pytest.mark.parametrize("is_kept", [True, False], ids=["ended", "forgotten"])
async def test_children_nobody_told_of_an_end_hear_of_it_from_the_next_sweep(
    backend: Backend, path: Path, family: Family, is_kept: bool
) -> None:
    parent, child, anyway = family
    by_hand(path, UNAWAITED)
    await complete(backend)
    if not is_kept:
        await backend.tasks.purge([parent.id])
    assert {finding.subject for finding in await audit(backend)} == {child.id, anyway.id}
    assert all(finding.repaired for finding in await audit(backend, repair=True))
    assert await audit(backend) == []
    assert (await get_one(backend, child.id)).state is TaskState.BLOCKED
    assert (await backend.tasks.sweep()).settled == 2
    task = await get_one(backend, child.id)
    expected = TaskState.READY if is_kept else TaskState.CANCELLED
    assert (task.state, "forgotten" in task.reason) == (expected, not is_kept)
    assert (await get_one(backend, anyway.id)).state is TaskState.READY
    assert await audit(backend) == []


async def test_an_end_on_its_way_is_no_finding_and_a_sweep_delivers_it(
    backend: Backend, path: Path, family: Family
) -> None:
    """As after the death of a process between an end and the news of it."""
    parent, child, _ = family
    by_hand(path, UNAWAITED)
    await complete(backend)
    by_hand(path, "INSERT INTO outbox VALUES (1, ?, 0, 'completed')", parent.id)
    assert await audit(backend) == []
    assert (await backend.tasks.sweep()).settled == 2
    assert (await get_one(backend, child.id)).state is TaskState.READY
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM children").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


async def test_what_is_no_index_is_said_and_left(backend: Backend, path: Path, family: Family) -> None:
    _, child, anyway = family
    by_hand(path, "UPDATE tasks SET life = x'5b5d' WHERE id = ?", child.id)
    by_hand(path, "UPDATE tasks SET state = 'scheduled' WHERE id = ?", anyway.id)
    found = {(f.invariant, f.subject, f.repaired) for f in await audit(backend, repair=True)}
    assert (Invariant.HAS_A_VISITOR, child.id, False) in found
    assert (Invariant.PARENTS_FIRST, anyway.id, False) in found
