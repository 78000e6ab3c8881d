"""Several processes on one file: no task twice, and bells that cross processes."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from meshd.backends import open_backend
from meshd.tasks.model import TaskState
from tests.support.builders import a_task

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


async def start(job: str, url: str, node_id: str) -> Process:
    arguments = ("-m", "tests.sqlite.claimer_process", job, url, node_id)
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, cwd=ROOT)


async def start_waiting(url: str, node_id: str) -> Process:
    process = await start("wait", url, node_id)
    assert await said(process) == "waiting"
    return process


async def said(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return (await process.stdout.readline()).decode().strip()


async def test_processes_that_claim_at_once_complete_every_task_exactly_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    backend = await open_backend(url)
    submitted = [a_task() for _ in range(600)]
    for first in range(0, 600, 200):
        await backend.tasks.submit(submitted[first : first + 200])
    processes = [await start("work", url, f"n{number}") for number in range(4)]
    async with asyncio.timeout(PATIENCE_S):
        outputs = [(await process.communicate())[0] for process in processes]
    completed = [line for output in outputs for line in output.decode().split()]
    assert sorted(completed) == sorted(task.id for task in submitted)
    assert (await backend.tasks.counts())[TaskState.COMPLETED] == 600
    await backend.aclose()


async def test_a_submit_wakes_a_claimer_in_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    backend = await open_backend(url)
    waiter = await start_waiting(url, "n1")
    await backend.tasks.submit([a_task()])
    assert await said(waiter) == "rung 1"
    assert await waiter.wait() == 0
    await backend.aclose()


async def test_a_killed_claimer_does_not_keep_a_ring_from_the_next_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    backend = await open_backend(url)
    killed = await start_waiting(url, "n1")
    alive = await start_waiting(url, "n2")
    killed.kill()
    await killed.wait()
    await backend.tasks.submit([a_task()])
    assert await said(alive) == "rung 1"
    assert await alive.wait() == 0
    await backend.aclose()


async def test_pipes_of_killed_processes_are_cleared_away_at_the_next_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    killed = await start_waiting(url, "n1")
    bells = tmp_path / "mesh.db-bells"
    assert len(list(bells.iterdir())) == 1
    killed.kill()
    await killed.wait()
    backend = await open_backend(url)
    assert list(bells.iterdir()) == []
    await backend.aclose()
