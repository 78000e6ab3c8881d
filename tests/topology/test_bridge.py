"""Two meshes and the bridge between them: what is carried is neither lost nor done twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Mesh, Node, Reject, TaskState
from meshd.errors import ConfigurationError
from meshd.messages.model import Message
from meshd.settings import Settings
from meshd.specialists.bridge import Bridge
from tests.support.waiting import wait_until


def settings(name: str, folder: Path) -> Settings:
    return Settings.model_validate({"mesh": name, "state_dir": str(folder / name)})


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    return f"sqlite:///{tmp_path / 'office.db'}", f"sqlite:///{tmp_path / 'plant.db'}"


@pytest.fixture
async def office(urls: tuple[str, str], tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(urls[0], settings=settings("office", tmp_path)) as mesh:
        yield mesh


@pytest.fixture
async def plant(urls: tuple[str, str], tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(urls[1], settings=settings("plant", tmp_path)) as mesh:
        yield mesh


def a_gate(name: str, plant: Mesh) -> Node:
    node = Node(name, grace=timedelta(milliseconds=50))
    Bridge(node, plant, here="office", tasks=["press.run"], messages=["note"])
    return node


async def test_a_task_runs_in_the_mesh_beyond_and_its_result_comes_back(
    office: Mesh, plant: Mesh, urls: tuple[str, str], tmp_path: Path
) -> None:
    press, gate = Node("press"), a_gate("gate", plant)

    @press.task("press.run")
    async def run(sheets: int) -> dict[str, int]:
        return {"pressed": sheets}

    async with (
        press.running(urls[1], settings=settings("plant", tmp_path)),
        gate.running(urls[0], settings=settings("office", tmp_path)),
    ):
        handle = await office.tasks.submit("press.run", sheets=3)
        assert await handle.result() == {"pressed": 3}
        (node,) = await office.nodes.list(types=["bridge"])
        assert node.profile.labels == {"bridge_to": "plant"}


async def test_a_task_whose_bridge_was_stopped_runs_once_beyond(
    office: Mesh, plant: Mesh, urls: tuple[str, str], tmp_path: Path
) -> None:
    press, runs, may_end = Node("press"), list[str](), asyncio.Event()

    @press.task("press.run")
    async def run(sheets: int) -> int:
        runs.append("run")
        await may_end.wait()
        return sheets

    async with press.running(urls[1], settings=settings("plant", tmp_path)):
        async with a_gate("first", plant).running(urls[0], settings=settings("office", tmp_path)):
            handle = await office.tasks.submit("press.run", sheets=3)
            await wait_until(lambda: runs == ["run"])
        async with a_gate("second", plant).running(urls[0], settings=settings("office", tmp_path)):
            may_end.set()
            assert await handle.result() == 3
    assert runs == ["run"]
    assert (await plant.tasks.counts())[TaskState.COMPLETED] == 1


async def test_a_task_refused_beyond_is_refused_here_with_the_reason(
    office: Mesh, plant: Mesh, urls: tuple[str, str], tmp_path: Path
) -> None:
    press = Node("press")

    @press.task("press.run")
    async def run() -> None:
        raise Reject("no paper")

    async with (
        press.running(urls[1], settings=settings("plant", tmp_path)),
        a_gate("gate", plant).running(urls[0], settings=settings("office", tmp_path)),
    ):
        handle = await office.tasks.submit("press.run")

        async def is_dead() -> bool:
            return (await office.tasks.get(handle.id)).state is TaskState.DEAD

        await wait_until(is_dead)
        assert "no paper" in str((await office.tasks.get(handle.id)).errors)


async def test_a_task_redriven_here_is_redriven_beyond(
    office: Mesh, plant: Mesh, urls: tuple[str, str], tmp_path: Path
) -> None:
    press, paper = Node("press"), list[int]()

    @press.task("press.run")
    async def run() -> int:
        if not paper:
            raise Reject("no paper")
        return paper.pop()

    async with (
        press.running(urls[1], settings=settings("plant", tmp_path)),
        a_gate("gate", plant).running(urls[0], settings=settings("office", tmp_path)),
    ):
        handle = await office.tasks.submit("press.run")
        assert (await handle.wait()).state is TaskState.DEAD
        paper.append(7)
        await office.tasks.redrive(handle.id)
        assert await handle.result() == 7


async def test_two_bridges_face_to_face_do_not_pass_a_task_to_and_fro(
    office: Mesh, plant: Mesh, urls: tuple[str, str], tmp_path: Path
) -> None:
    back = Node("back")
    Bridge(back, office, here="plant", tasks=["press.run"])
    async with (
        back.running(urls[1], settings=settings("plant", tmp_path)),
        a_gate("gate", plant).running(urls[0], settings=settings("office", tmp_path)),
    ):
        await office.tasks.submit("press.run", sheets=1)

        async def is_there() -> bool:
            return (await plant.tasks.counts())[TaskState.READY] == 1

        await wait_until(is_there)
        assert sum((await office.tasks.counts()).values()) == 1


async def test_a_message_is_sent_on_to_whom_it_names(
    office: Mesh, plant: Mesh, urls: tuple[str, str], tmp_path: Path
) -> None:
    press, heard = Node("press"), list[Message]()

    @press.on_message("note")
    async def note(message: Message) -> None:
        heard.append(message)

    async with (
        press.running(urls[1], settings=settings("plant", tmp_path)),
        a_gate("gate", plant).running(urls[0], settings=settings("office", tmp_path)),
    ):
        await office.messages.send("gate", "note", {"text": "hello"}, metadata={"to": "press"})
        await wait_until(lambda: heard)
        assert (heard[0].payload, heard[0].metadata["mesh"]) == ({"text": "hello"}, "office")


async def test_a_bridge_to_its_own_mesh_is_refused(plant: Mesh) -> None:
    with pytest.raises(ConfigurationError, match="not to itself"):
        Bridge(Node("loop"), plant, here="plant")
