"""Autonomous agents: what may be declared, what a part of a group offers them, and life in a process of their own."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd import AutonomousAgent, GroupTask, Level, Mesh, Node, Settings, Skill
from meshd.errors import AlreadyExistsError, ConfigurationError, InvalidArgumentError
from meshd.groups.model import AnnouncementState
from meshd.groups.registry import Registry
from tests.groups.crews import SOON, Worker, crew, enrolment, quick_settings, until_free
from tests.support.waiting import wait_until

Start = Callable[[str], Awaitable[subprocess.Popen[bytes]]]


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return quick_settings(mesh_name)


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened:
        yield opened


@pytest.fixture
async def start(mesh: Mesh, store_url: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Start an agent's process and return once it is found by its skill."""
    processes: list[subprocess.Popen[bytes]] = []

    async def start_agent(name: str) -> subprocess.Popen[bytes]:
        before = {each.agent: each.incarnation for each in await Registry(mesh.records).holders("python")}
        command = [sys.executable, "-m", "tests.runtime.agent_process", store_url, mesh_name, name, str(tmp_path)]
        process = subprocess.Popen(command)
        processes.append(process)

        async def is_here() -> bool:
            found = await Registry(mesh.records).holders("python")
            return any(each.agent == name and each.incarnation > before.get(name, 0) for each in found)

        await wait_until(is_here, timeout=30, pause=0.1)
        return process

    yield start_agent
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def starts(folder: Path) -> list[str]:
    file = folder / "starts"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize(
    ("skills", "more", "complaint"),
    [
        ([], {}, "at least one skill"),
        (["python", "python=expert"], {}, "each once"),
        (["python=wizard"], {}, "wizard"),
        (["no good"], {}, "no good"),
        (["python"], {"slots": 0}, "0 slots"),
        (["python"], {"cost": -1.0}, "cost"),
    ],
)
def test_what_an_agent_cannot_be_is_refused(skills: list[str], more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        AutonomousAgent("ana", skills=skills, **more)


def test_skills_are_of_the_class_or_of_the_agent() -> None:
    class Analyst(AutonomousAgent):
        skills = (Skill(name="python", level=Level.EXPERT), "statistics=advanced", "sql")

        async def on_start(self, task: GroupTask) -> None: ...

    levels = {skill.name: skill.level for skill in Analyst("ana").declared_skills}
    assert levels == {"python": Level.EXPERT, "statistics": Level.ADVANCED, "sql": Level.INTERMEDIATE}
    assert [skill.name for skill in Analyst("bob", skills=["go"]).declared_skills] == ["go"]


def test_an_agent_lives_on_one_node_and_says_what_it_does() -> None:
    ana = Worker("ana")
    first = Node("first").host(ana)
    with pytest.raises(ConfigurationError, match="lives on node first"):
        Node("second").host(ana)
    with pytest.raises(AlreadyExistsError):
        first.host(Worker("ana"))
    with pytest.raises(ConfigurationError, match="no on_start"):
        first.host(AutonomousAgent("idle", skills=["python"]))
    assert first.has_agent("ana")


def test_a_node_that_hosts_nobody_and_plays_no_role_imports_nothing_of_groups(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from meshd import Node, Settings\n"
        "async def main():\n"
        "    async with Node('n').running(sys.argv[1], settings=Settings.load(roles={'play': []})):\n"
        "        print([name for name in sys.modules if name.startswith('meshd.groups.')])\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'mesh.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


async def test_a_sync_handler_runs_in_a_thread(mesh: Mesh, store_url: str, settings: Settings) -> None:
    class Sync(AutonomousAgent):
        def on_start(self, task: GroupTask) -> str:
            return threading.current_thread().name

    async with crew(store_url, settings, Sync("ana", skills=["python"])):
        announced = await mesh.groups.announce("count", skills=["python"])
        result = await announced.result(SOON)
        assert result["python"] != threading.main_thread().name


async def test_a_member_delegates_a_part_and_its_result_rolls_up(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    class Boss(AutonomousAgent):
        async def on_start(self, task: GroupTask) -> Any:
            return dict(await task.delegate("help", skills=["python"], timeout=SOON))

    async with crew(store_url, settings, Boss("boss", skills=["lead"]), Worker("ana")):
        announced = await mesh.groups.announce("project", skills=["lead"])
        assert await announced.result(SOON) == {"lead": {"python": "ana"}}
        await until_free(mesh, "boss", "ana")


async def test_a_second_phase_is_given_the_results_of_the_first(mesh: Mesh, store_url: str, settings: Settings) -> None:
    ana = Worker("ana", "python", "sql")
    async with crew(store_url, settings, ana):
        first = await mesh.groups.announce("first", skills=["sql"])
        second = await mesh.groups.announce("second", skills=["python"], depends_on=[first.id])
        await second.result(SOON)
        assert [part.description for part in ana.parts] == ["first", "second"]
        assert ana.parts[1].results == {first.id: {"sql": "ana"}}


async def test_a_subclass_runs_in_a_process_of_its_own(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    process = await start("ana")
    announced = await mesh.groups.announce("count", skills=["python>=expert", "statistics"])
    result = await announced.result(SOON)
    assert result["python"] == result["statistics"]
    assert (result["python"]["by"], result["python"]["pid"]) == ("ana", process.pid)
    assert len(starts(tmp_path)) == 1
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert not await Registry(mesh.records).holders("python")


async def test_a_member_that_is_killed_is_replaced_and_what_it_held_is_free(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    first = await start("ana")
    announced = await mesh.groups.announce("count", skills=["python"], payload="go", deadline=timedelta(seconds=60))
    await wait_until(lambda: len(starts(tmp_path)) == 1, timeout=20)
    first.kill()
    await start("bob")
    await wait_until(lambda: len(starts(tmp_path)) == 2, timeout=30)
    (tmp_path / "go").touch()
    result = await announced.result(SOON)
    assert result["python"]["by"] == "bob"
    await start("ana")
    await until_free(mesh, "ana", "bob")
    assert (await enrolment(mesh, "ana")).candidate.reputation.completed == 0


async def test_an_agent_that_is_restarted_mid_work_begins_anew_with_all_its_slots(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    first = await start("ana")
    announced = await mesh.groups.announce("count", skills=["python"], payload="go", deadline=timedelta(seconds=60))
    await wait_until(lambda: len(starts(tmp_path)) == 1, timeout=20)
    first.kill()
    await start("ana")
    await wait_until(lambda: len(starts(tmp_path)) == 2, timeout=30)
    (tmp_path / "go").touch()
    found = await announced.outcome(SOON)
    assert found.state is AnnouncementState.COMPLETED
    await until_free(mesh, "ana")
    assert (await enrolment(mesh, "ana")).candidate.reputation.completed == 1


async def test_an_agent_that_accepts_and_never_starts_is_replaced(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    first = await start("ana")
    first.send_signal(signal.SIGSTOP)
    announced = await mesh.groups.announce("count", skills=["python"], deadline=timedelta(seconds=60))
    await start("bob")
    result = await announced.result(timedelta(seconds=40))
    assert result["python"]["by"] == "bob"
    first.send_signal(signal.SIGCONT)
    await until_free(mesh, "ana", "bob")
