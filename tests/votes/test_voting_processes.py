"""Real processes: agents that vote by policy, a consensus manager that is killed, and who learns what how often."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from meshd import Mesh
from meshd.votes.model import Elector, ProposalState, Quorum
from meshd.votes.waggle import dance, intensity_of
from tests.runtime.worker_process import fast_settings
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)
NAMES = ("sales", "support", "inventory", "fraud")
Start = Callable[..., Awaitable[subprocess.Popen[bytes]]]


@pytest.fixture
async def mesh(store_url: str, mesh_name: str) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=fast_settings(mesh_name)) as opened:
        yield opened


@pytest.fixture
async def start(store_url: str, mesh_name: str) -> AsyncIterator[Start]:
    processes: list[subprocess.Popen[bytes]] = []

    async def start_process(module: str, *args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"tests.votes.{module}", store_url, mesh_name, *args]
        processes.append(await asyncio.to_thread(subprocess.Popen, command))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
async def agents(mesh: Mesh, start: Start, tmp_path: Path) -> Path:
    """Four agent processes; what each is told of decisions stands in a file of its name in this folder."""
    for name in NAMES:
        await start("agent_process", name, str(tmp_path))

    async def all_are_here() -> bool:
        return len(await mesh.nodes.list()) == len(NAMES)

    await wait_until(all_are_here, timeout=30)
    return tmp_path


async def start_manager(mesh: Mesh, start: Start, name: str = "manager-1") -> subprocess.Popen[bytes]:
    """Start a node that plays the consensus manager, and return once it is elected."""
    manager = await start("manager_process", name)

    async def is_elected() -> bool:
        term = await mesh.votes.leaders.current("role:consensus")
        return term is not None and term.holder == name

    await wait_until(is_elected, timeout=30)
    return manager


def told(folder: Path, name: str) -> list[str]:
    file = folder / name
    return sorted(file.read_text().splitlines()) if file.exists() else []


def was_told(folder: Path, name: str, what: list[str]) -> bool:
    return len(told(folder, name)) >= len(what)


async def test_four_agents_accept_a_strong_proposal_and_reject_a_weak_one(
    mesh: Mesh, start: Start, agents: Path
) -> None:
    await start_manager(mesh, start)
    strong = await mesh.votes.propose(
        {"refund": 5_000}, id="strong", waggle=dance(intensity_of(priority="high", urgent=True)), timeout=SOON
    )
    assert (strong.need, [elector.id for elector in strong.electorate]) == (3, sorted(NAMES))
    await mesh.votes.propose({"refund": 9}, id="weak", waggle=dance(0.2), timeout=SOON)
    accepted = await mesh.votes.decision("strong", timeout=SOON)
    assert accepted.state is ProposalState.ACCEPTED
    assert len(accepted.votes) >= 3
    assert all(vote.incarnation > 0 for vote in accepted.votes.values())
    assert (await mesh.votes.decision("weak", timeout=SOON)).state is ProposalState.REJECTED
    for name in NAMES:
        await wait_until(partial(was_told, agents, name, ["strong accepted", "weak rejected"]), timeout=20)
        assert told(agents, name) == ["strong accepted", "weak rejected"]


async def test_a_manager_killed_in_mid_vote_loses_no_vote_and_its_successor_tells_each_agent_once(
    mesh: Mesh, start: Start, agents: Path
) -> None:
    first = await start_manager(mesh, start)
    electorate = (*NAMES, Elector(id="auditor", may_veto=True))
    await mesh.votes.propose("x", id="p", electorate=electorate, quorum=Quorum(permil=1_000), timeout=SOON)

    async def four_have_voted() -> bool:
        return len((await mesh.votes.get("p")).votes) == len(NAMES)

    await wait_until(four_have_voted, timeout=20)
    first.kill()
    await asyncio.to_thread(first.wait)
    assert len((await mesh.votes.get("p")).votes) == len(NAMES)
    decided = await mesh.votes.vote("p", "auditor", True)
    assert (decided.state, decided.announced) == (ProposalState.ACCEPTED, False)
    await start_manager(mesh, start, "manager-2")
    for name in NAMES:
        await wait_until(partial(was_told, agents, name, ["p accepted"]), timeout=20)
        assert told(agents, name) == ["p accepted"]

    async def is_announced() -> bool:
        return (await mesh.votes.get("p")).announced

    await wait_until(is_announced, timeout=20)


async def test_managers_killed_again_and_again_announce_each_decision_once(
    mesh: Mesh, start: Start, agents: Path
) -> None:
    expected: list[str] = []
    for number in range(3):
        manager = await start_manager(mesh, start, f"manager-{number}")
        for part in range(4):
            await mesh.votes.propose(number, id=f"p{number}{part}", waggle=dance(0.9), timeout=SOON)
            expected.append(f"p{number}{part} accepted")
        await mesh.votes.decision(f"p{number}0", timeout=SOON)
        manager.kill()
        await asyncio.to_thread(manager.wait)
    await start_manager(mesh, start, "manager-last")
    for name in NAMES:
        await wait_until(partial(was_told, agents, name, expected), timeout=20)
    assert {name: told(agents, name) for name in NAMES} == dict.fromkeys(NAMES, expected)
