"""The node that waits for a vote is killed: another takes the vote over, and no vote cast so far is lost."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Mesh, Settings
from meshd.nodes.model import Verdict
from meshd.tasks.voting import Vote
from meshd.votes.model import Proposal
from tests.runtime.worker_process import fast_settings
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
SOON = timedelta(seconds=30)
ELECTORATE = ("a", "b", "c")

Start = Callable[[str], Awaitable["subprocess.Popen[bytes]"]]


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return fast_settings(mesh_name)


@pytest.fixture
async def start(mesh: Mesh, store_url: str, mesh_name: str) -> AsyncGenerator[Start]:
    """Starts a node in a process of its own and waits until the mesh sees it."""
    processes: list[subprocess.Popen[bytes]] = []

    async def start_node(name: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.runtime.worker_process", store_url, mesh_name, name]
        processes.append(subprocess.Popen(command, cwd=REPOSITORY))

        async def is_alive() -> bool:
            return any(node.id == name and node.verdict is Verdict.ALIVE for node in await mesh.nodes.list())

        await wait_until(is_alive, timeout=20)
        return processes[-1]

    yield start_node
    for process in processes:
        process.kill()
        await asyncio.to_thread(process.wait)


async def until_open(mesh: Mesh) -> Proposal:
    """Return the one proposal of the mesh, once there is one."""

    async def is_open() -> bool:
        return bool(await mesh.votes.list())

    await wait_until(is_open, timeout=10)
    (proposal,) = await mesh.votes.list()
    return proposal


async def test_a_vote_outlives_the_node_that_waits_for_it(mesh: Mesh, start: Start) -> None:
    first = await start("first")
    handle = await mesh.tasks.submit("echo", value=7, requires=Vote(electorate=ELECTORATE))
    proposal = await until_open(mesh)
    await mesh.votes.vote(proposal.id, "a", "yes")
    first.kill()
    await asyncio.to_thread(first.wait)
    await start("second")

    async def is_taken_over() -> bool:
        return (await mesh.tasks.get(proposal.id)).node_id == "second"

    await wait_until(is_taken_over, timeout=20)
    await mesh.votes.vote(proposal.id, "c", "yes")
    assert await handle.result(timeout=SOON) == 7
    (kept,) = await mesh.votes.list()
    assert (kept.id, set(kept.votes)) == (proposal.id, {"a", "c"})


async def test_what_was_decided_while_nobody_waited_is_found(mesh: Mesh, start: Start) -> None:
    first = await start("first")
    handle = await mesh.tasks.submit("echo", value=8, requires=Vote(electorate=ELECTORATE))
    proposal = await until_open(mesh)
    first.kill()
    await asyncio.to_thread(first.wait)
    for voter in ("b", "c"):
        await mesh.votes.vote(proposal.id, voter, "yes")
    await start("second")
    assert await handle.result(timeout=SOON) == 8
    assert len(await mesh.votes.list()) == 1
