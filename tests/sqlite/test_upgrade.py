"""A file an older version wrote goes on where it stopped."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.sqlite.schema import APPLICATION_ID, VERSION
from meshd.clock import ManualClock
from meshd.records import Guard
from meshd.tasks.audit import AuditPage
from meshd.tasks.model import Priority, TaskState
from tests.support.builders import LEASE_MS, a_claimer, a_task, claim, claim_all, completed, get_one, submit_one

VERSION_1 = Path(__file__).parent / "stores" / "version_1.sql"
VERSION_2 = Path(__file__).parent / "stores" / "version_2.sql"
VERSION_3 = Path(__file__).parent / "stores" / "version_3.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store as version 1 left it: every state, a suspect, and two routes."""
    path = tmp_path / "mesh.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    return path


async def open_at(path: Path, clock: ManualClock) -> Backend:
    return await open_backend(f"sqlite:///{path}", BackendOptions(clock=clock))


async def test_every_task_is_there_and_every_index_is_right(path: Path, clock: ManualClock) -> None:
    backend = await open_at(path, clock)
    counts = {state: count for state, count in (await backend.tasks.counts()).items() if count}
    assert counts == {
        TaskState.SCHEDULED: 1,
        TaskState.READY: 5,
        TaskState.CLAIMED: 1,
        TaskState.COMPLETED: 1,
        TaskState.DEAD: 1,
    }
    assert await backend.tasks.audit(repair=False) == AuditPage(checked=9)
    await backend.aclose()


async def test_its_tasks_are_served_as_ever_and_its_suspect_alone(path: Path, clock: ManualClock) -> None:
    backend = await open_at(path, clock)
    claimed = await claim(backend)
    assert [task.id for task in claimed.tasks] == ["01TASK0003", "01TASK0004", "01TASK0008", "01TASK0007"]
    assert claimed.tasks[-1].priority is Priority.LOW
    assert claimed.suspects_wait
    (suspect,) = (await claim(backend, alone=True)).tasks
    assert (suspect.id, suspect.crashes) == ("01TASK0000", 2)
    await backend.aclose()


async def test_its_holds_still_lapse_and_its_delays_still_end(path: Path, clock: ManualClock) -> None:
    backend = await open_at(path, clock)
    while clock() <= 1_700_000_000_000 + LEASE_MS + 60_000:
        await backend.tasks.sweep()
        clock.advance(ms=900)
    assert (await get_one(backend, "01TASK0006")).state is TaskState.READY
    assert len(await claim_all(backend, a_claimer(holds=["gpu"]))) == 6
    await backend.aclose()


async def test_new_tasks_follow_the_old_ones(path: Path, clock: ManualClock) -> None:
    backend = await open_at(path, clock)
    new = a_task()
    assert (await submit_one(backend, new)).created
    assert [task.id for task in await claim_all(backend)][3] == new.id
    await backend.aclose()


async def test_many_may_open_an_old_file_at_once(path: Path, clock: ManualClock) -> None:
    backends = await asyncio.gather(*(open_at(path, clock) for _ in range(5)))
    for backend in backends:
        assert sum((await backend.tasks.counts()).values()) == 9
        await backend.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


async def test_a_file_of_version_2_is_given_the_tables_it_lacks(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "mesh.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_2.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
    backend = await open_at(path, clock)
    assert await backend.tasks.audit(repair=False) == AuditPage(checked=6)
    assert (await backend.tasks.paused()).task_types == {"rank"}
    running, child = await get_one(backend, "01TASK0004"), a_task("then", after=["01TASK0004", "01TASK0000"])
    assert (await submit_one(backend, child)).state is TaskState.BLOCKED
    assert (running.context, running.depends_on) == (b'{"a":1}', ())
    await backend.tasks.finish([completed(running)])
    assert (await get_one(backend, child.id)).state is TaskState.READY
    claimed = {task.id for task in await claim_all(backend, a_claimer("here"))}
    assert claimed == {"01TASK0002", "01TASK0003", "01TASK0005"}
    await backend.aclose()


async def test_a_file_of_version_3_keeps_its_records_with_a_life_each(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "mesh.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_3.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 3")
    backend = await open_at(path, clock)
    kept, short = await backend.records.list("")
    assert [(each.key, each.value, each.revision, each.born) for each in (kept, short)] == [
        ("kept", b"2", 2, 2),
        ("short", b"3", 3, 3),
    ]
    guard = Guard(key="short", born=3)
    assert await backend.records.update("kept", b"4", revision=2, guard=guard) >= clock() * 1_000
    await backend.records.put("short", b"5")
    await backend.records.put("kept", b"6", guard=guard)
    record = await backend.records.get("kept")
    assert record is not None
    assert (record.value, record.born) == (b"6", 2)
    await backend.aclose()
