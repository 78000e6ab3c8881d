"""Real nodes in real processes, and real signals: what is promised when one of them dies, stops or is frozen."""

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from meshd.nodes.model import Verdict
from meshd.tasks.model import FailureKind
from tests.runtime.worker_process import fast_settings
from tests.support.freezing import freeze
from tests.support.waiting import wait_until

SOON = timedelta(seconds=30)
Start = Callable[[str], Awaitable[subprocess.Popen[bytes]]]


@pytest.fixture
async def mesh(store_url: str, mesh_name: str) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=fast_settings(mesh_name)) as opened:
        yield opened


@pytest.fixture
async def start(mesh: Mesh, store_url: str, mesh_name: str) -> AsyncIterator[Start]:
    """Start a node process and return once the mesh lists it under a new incarnation."""
    processes: list[subprocess.Popen[bytes]] = []

    async def start_node(name: str) -> subprocess.Popen[bytes]:
        before = {node.id: node.incarnation for node in await mesh.nodes.list(include_dead=True)}
        command = [sys.executable, "-m", "tests.runtime.worker_process", store_url, mesh_name, name]
        process = subprocess.Popen(command)
        processes.append(process)

        async def is_here() -> bool:
            nodes = await mesh.nodes.list()
            return any(node.id == name and node.incarnation > before.get(name, 0) for node in nodes)

        await wait_until(is_here, timeout=20)
        return process

    yield start_node
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


async def until_running(mesh: Mesh, task_id: str, node_id: str) -> None:
    async def is_running() -> bool:
        task = await mesh.tasks.get(task_id)
        return task.state is TaskState.RUNNING and task.node_id == node_id

    await wait_until(is_running, timeout=20)


async def test_a_task_of_a_killed_node_is_finished_by_another_once(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    victim = await start("victim")
    handle = await mesh.tasks.submit("hold", until=str(flag))
    await until_running(mesh, handle.id, "victim")
    await start("heir")
    victim.kill()
    flag.touch()
    assert await handle.result(timeout=SOON) == "heir attempt 2"
    task = await handle.status()
    assert [error.kind for error in task.errors] == [FailureKind.CRASHED]
    completions = [
        event
        for event in await mesh.events.read("tasks", limit=1000)
        if event.body["task"] == handle.id and event.body["event"] == "completed"
    ]
    assert len(completions) == 1


async def test_a_killed_node_leaves_the_active_set_without_an_operator(mesh: Mesh, start: Start) -> None:
    victim = await start("victim")
    await start("witness")
    victim.kill()
    victim.wait()
    killed = time.monotonic()

    async def is_dead() -> bool:
        return (await mesh.nodes.get("victim")).verdict is Verdict.DEAD

    await wait_until(is_dead, timeout=20)
    assert time.monotonic() - killed < 10
    assert [node.id for node in await mesh.nodes.list()] == ["witness"]


async def test_a_restarted_node_rejoins_under_its_id_and_its_work_is_reconciled_at_once(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    victim = await start("phoenix")
    handle = await mesh.tasks.submit("hold", until=str(flag))
    await until_running(mesh, handle.id, "phoenix")
    first = (await mesh.nodes.get("phoenix")).incarnation
    victim.kill()
    flag.touch()
    await start("phoenix")
    assert await handle.result(timeout=SOON) == "phoenix attempt 2"
    assert (await mesh.nodes.get("phoenix")).incarnation > first


async def test_a_frozen_node_is_fenced_and_goes_back_to_work_by_itself(
    mesh: Mesh, start: Start, store_url: str, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    zombie = await start("zombie")
    handle = await mesh.tasks.submit("hold", until=str(flag))
    await until_running(mesh, handle.id, "zombie")
    before = (await mesh.nodes.get("zombie")).incarnation
    heir = await start("heir")
    freeze(zombie, store_url)
    await until_running(mesh, handle.id, "heir")

    async def is_judged() -> bool:
        return (await mesh.nodes.get("zombie")).verdict is Verdict.DEAD

    await wait_until(is_judged, timeout=20)
    zombie.send_signal(signal.SIGCONT)

    async def is_back() -> bool:
        nodes = await mesh.nodes.list()
        return any(node.id == "zombie" and node.incarnation > before for node in nodes)

    await wait_until(is_back, timeout=20)
    flag.touch()
    assert await handle.result(timeout=SOON) == "heir attempt 2"
    heir.terminate()
    assert heir.wait(20) == 0
    assert await (await mesh.tasks.submit("pid")).result(timeout=SOON) == zombie.pid


async def test_sigterm_drains_and_leaves(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    node = await start("leaver")
    handle = await mesh.tasks.submit("hold", until=str(flag))
    await until_running(mesh, handle.id, "leaver")
    node.terminate()

    async def is_leaving() -> bool:
        return (await mesh.nodes.get("leaver")).vitals.status == "shutting_down"

    await wait_until(is_leaving)
    flag.touch()
    assert node.wait(20) == 0
    assert await handle.result(timeout=SOON) == "leaver attempt 1"
    assert await mesh.nodes.list(include_dead=True) == []


async def test_an_idle_node_leaves_in_under_a_second(mesh: Mesh, start: Start) -> None:
    node = await start("idle")
    node.terminate()
    began = time.monotonic()

    async def is_gone() -> bool:
        return not await mesh.nodes.list(include_dead=True)

    await wait_until(is_gone)
    assert time.monotonic() - began < 1.0
    assert node.wait(20) == 0


async def test_a_task_that_kills_its_process_ends_as_a_dead_letter(mesh: Mesh, start: Start) -> None:
    handle = await mesh.tasks.submit("poison")
    for attempt in range(3):
        (await start(f"victim{attempt}")).wait(30)
    await start("witness")
    task = await handle.wait(timeout=SOON)
    assert (task.state, task.crashes, task.reason) == (TaskState.DEAD, 3, "crashed")
    assert len(task.errors) == 3


async def test_a_node_joined_late_is_discovered_with_no_peer_list(mesh: Mesh, start: Start) -> None:
    await start("first")
    await start("second")
    assert [node.id for node in await mesh.nodes.list()] == ["first", "second"]
