"""Faults of files and processes: nothing acknowledged is lost, nothing broken is believed, and work goes on after."""

import asyncio
import json
import os
import random
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import ManualClock
from meshd.errors import CorruptDataError, StoreReadOnlyError
from meshd.tasks.model import NewTask, Outcome, Task, TaskFilter, TaskState
from tests.sqlite.test_audit import audit
from tests.support.builders import a_claimer, a_task, claim_all, completed, hold_of, submit_one
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
KILLS = 6
FLIPS = 150
CONTENDERS = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.db"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def fill(backend: Backend) -> list[NewTask]:
    """Submit until the disk is full; return what was acknowledged."""
    kept: list[NewTask] = []
    while True:
        batch = [a_task(payload=os.urandom(4_000)) for _ in range(8)]
        try:
            await backend.tasks.submit(batch)
        except StoreReadOnlyError:
            return kept
        kept += batch


async def test_on_a_full_disk_writes_are_refused_and_nothing_kept_is_lost(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    backend = await open_backend(f"sqlite:///{small_disk / 'mesh.db'}")
    held = a_task()
    await submit_one(backend, held)
    (task,) = await claim_all(backend, limit=1)
    await backend.tasks.start([hold_of(task)])
    kept = await fill(backend)
    assert kept
    counts = await backend.tasks.counts()
    assert (counts[TaskState.READY], counts[TaskState.RUNNING]) == (len(kept), 1)
    found = await backend.tasks.get([new.id for new in kept])
    assert [task and task.payload for task in found] == [new.payload for new in kept]
    ballast.unlink()

    async def ends() -> bool:
        return list(await backend.tasks.finish([completed(task)])) == [Outcome.OK]

    await wait_until(ends, timeout=2)
    assert (await submit_one(backend, a_task())).created
    assert len(await claim_all(backend, limit=20)) == 20
    assert await audit(backend) == []
    await backend.aclose()


async def test_a_store_closed_on_a_full_disk_is_sound_when_opened_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    url = f"sqlite:///{small_disk / 'mesh.db'}"
    backend = await open_backend(url)
    kept = await fill(backend)
    await backend.aclose()
    ballast.unlink()
    backend = await open_backend(url)
    assert (await backend.tasks.counts())[TaskState.READY] == len(kept)
    assert await audit(backend) == []
    await backend.aclose()


async def lived_until_killed(url: str, node_id: str, *, lines: int) -> dict[str, set[str]]:
    """Run a writer, kill it once it said so many lines, and return what it said, by verb."""
    arguments = (sys.executable, "-m", "tests.sqlite.writer_process", url, node_id)
    process = await asyncio.create_subprocess_exec(*arguments, stdout=PIPE, cwd=ROOT)
    assert process.stdout is not None
    said: dict[str, set[str]] = {"submitted": set(), "completed": set()}
    async with asyncio.timeout(PATIENCE_S):
        while line := await process.stdout.readline():
            if line.endswith(b"\n"):
                verb, _, task_id = line.decode().strip().partition(" ")
                said[verb].add(task_id)
            lines -= 1
            if lines == 0:
                process.kill()
        await process.wait()
    return said


@pytest.mark.parametrize("synchronous", ["normal", "full"])
async def test_what_a_killed_process_was_told_is_kept_is_kept(path: Path, synchronous: str) -> None:
    url = f"sqlite:///{path}?synchronous={synchronous}"
    chance = random.Random(7)
    submitted: set[str] = set()
    done: set[str] = set()
    for kill in range(KILLS):
        lives = [lived_until_killed(url, f"n{kill}-{n}", lines=chance.randrange(30, 200)) for n in range(2)]
        for said in await asyncio.gather(*lives):
            submitted |= said["submitted"]
            done |= said["completed"]
    backend = await open_backend(url)
    assert await audit(backend) == []
    kept: dict[str, Task] = {}
    told = sorted(submitted | done)
    for first in range(0, len(told), 200):
        found = await backend.tasks.get(told[first : first + 200])
        kept |= {task.id: task for task in found if task is not None}
    assert sorted(kept) == told
    assert {kept[task_id].state for task_id in done} == {TaskState.COMPLETED}
    await backend.aclose()


async def test_processes_that_contend_for_the_lock_never_hear_of_it(path: Path) -> None:
    url = f"sqlite:///{path}"
    backend = await open_backend(url)
    arguments = (sys.executable, "-m", "tests.sqlite.contender_process", url)
    processes = [
        await asyncio.create_subprocess_exec(*arguments, f"n{number}", "60", stdout=PIPE, cwd=ROOT)
        for number in range(CONTENDERS)
    ]
    async with asyncio.timeout(PATIENCE_S):
        said = [json.loads((await process.communicate())[0]) for process in processes]
    assert [error for each in said for error in each["errors"]] == []
    claims: list[float] = [took for each in said for took in each["claims"]]
    assert len(claims) == 60 * CONTENDERS
    assert quantiles(claims, n=100)[98] < 250
    assert await audit(backend) == []
    await backend.aclose()


async def everything(backend: Backend) -> dict[str, Task]:
    return {task.id: task for task in (await backend.tasks.list(TaskFilter(), limit=1_000)).tasks}


def content(task: Task) -> object:
    """What the submitter gave."""
    return task.id, task.type, task.payload, task.context, task.priority, task.policy, task.created_by, task.created_ms


async def test_a_flipped_bit_is_refused_or_harmless(path: Path, clock: ManualClock) -> None:
    url, options = f"sqlite:///{path}", BackendOptions(clock=clock)
    backend = await open_backend(url, options)
    await backend.tasks.submit([a_task(key=f"k{n}", payload=os.urandom(150).hex().encode()) for n in range(120)])
    held = await claim_all(backend, limit=60)
    await backend.tasks.start([hold_of(task) for task in held[:50]])
    await backend.tasks.finish([completed(task) for task in held[:40]])
    before = {task_id: content(task) for task_id, task in (await everything(backend)).items()}
    await backend.aclose()
    sound = path.read_bytes()
    chance = random.Random(11)
    refused = 0
    for _ in range(FLIPS):
        damaged = bytearray(sound)
        damaged[chance.randrange(len(sound))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            backend = await open_backend(url, options)
        except CorruptDataError:
            refused += 1
            continue
        try:
            found = {task_id: content(task) for task_id, task in (await everything(backend)).items()}
            assert found == before
            served = await claim_all(backend, a_claimer("n9"), limit=200)
            assert len(served) == 60 or await audit(backend)
        except CorruptDataError:
            refused += 1
        finally:
            await backend.aclose()
    assert 0 < refused < FLIPS
