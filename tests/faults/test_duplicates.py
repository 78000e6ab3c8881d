"""The same submits from many processes at once, some of whose answers are lost: one task for each key."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from random import Random

import pytest

from meshd import Mesh, Settings, TaskState
from meshd.backends.redis import scripts
from tests.support.proxy import proxied
from tests.support.redis_server import RedisServer

PARENTS = 2
"""Processes that the others are forked from."""
MANY = pytest.param(64, 1_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])


async def submit_all(url: str, mesh_name: str, *, processes: int, keys: int) -> list[list[str]]:
    """Have every process submit every key; return the tasks each was told of."""

    async def submit(seeds: range) -> list[list[str]]:
        command = ["-m", "tests.faults.submitter_process", url, mesh_name, str(keys), *map(str, seeds)]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0
        found: list[list[str]] = json.loads(out)
        return found

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(submit(range(processes)[first::PARENTS])) for first in range(PARENTS)]
    return [told for one in running for told in one.result()]


async def assert_one_task_per_key(store_url: str, mesh_name: str, told: list[list[str]], *, keys: int) -> None:
    assert all(one == told[0] for one in told)
    assert len(set(told[0])) == keys
    async with Mesh(store_url, settings=Settings.load(mesh=mesh_name)) as mesh:
        assert {state: count for state, count in (await mesh.tasks.counts()).items() if count} == {
            TaskState.READY: keys
        }


@pytest.mark.parametrize(("processes", "keys"), [(6, 500), MANY])
async def test_one_task_for_each_key_whoever_submits_it(
    store_url: str, mesh_name: str, processes: int, keys: int
) -> None:
    told = await submit_all(store_url, mesh_name, processes=processes, keys=keys)
    await assert_one_task_per_key(store_url, mesh_name, told, keys=keys)


async def test_one_task_for_each_key_whatever_answer_is_lost(server: RedisServer) -> None:
    keys = 500
    rng = Random(7)
    async with proxied(server.port) as proxy:
        proxy.lose_answers(scripts.load("task_submit", flagged=True).sha, should_cut=lambda: rng.random() < 0.2)
        told = await submit_all(proxy.url, "faults", processes=4, keys=keys)
    assert proxy.lost_answers > 0
    await assert_one_task_per_key(server.url, "faults", told, keys=keys)
