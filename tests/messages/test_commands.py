"""`mesh message`, typed."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd import Mesh, Node, Settings, SyncMesh
from meshd.messages.model import Message
from tests.rows.mesh_command import Command
from tests.support.waiting import wait_until


@pytest.fixture
def command(store_url: str, mesh_name: str, tmp_path: Path) -> Command:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Command(url=store_url, mesh=mesh_name, folder=folder)


@pytest.fixture
def listener(command: Command, mesh: Mesh) -> Iterator["subprocess.Popen[str]"]:
    del mesh
    process = subprocess.Popen(
        [sys.executable, "-m", "meshd_cli.main", "message", "listen", "--as", "sales", "--json", "--reply", '"ok"'],
        cwd=command.folder,
        env=command.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


async def test_what_is_sent_is_heard_answered_and_ended_by_ctrl_c(
    mesh: Mesh, command: Command, listener: "subprocess.Popen[str]"
) -> None:
    sent = command.json("message", "send", "--to", "sales", "--type", "order", "-p", '{"item": 7}', "--from", "shop")
    assert (sent["kind"], sent["from"], sent["payload"]) == ("message", "shop", {"item": 7})
    assert listener.stdout is not None
    heard = json.loads(listener.stdout.readline())
    assert (heard["id"], heard["from"], heard["type"], heard["payload"]) == (sent["id"], "shop", "order", {"item": 7})
    assert command("message", "send", "--to", "sales", "--type", "order", "--wait", "20s") == "ok\n"

    async def is_handled() -> bool:
        return await mesh.records.count("msg/sales/") == 0

    await wait_until(is_handled, timeout=20)
    listener.send_signal(signal.SIGINT)
    assert listener.wait(20) == 130


async def test_what_nobody_handles_is_listed_with_its_reason(
    mesh: Mesh, command: Command, store_url: str, settings: Settings
) -> None:
    assert command("message", "unhandled") == "Every message was handled.\n"
    async with Node("ada").running(store_url, settings=settings):
        await mesh.messages.send("ada", "odd", 1)
        await wait_until(mesh.messages.unhandled)
    listed = command.json("message", "unhandled", "--to", "ada")["messages"]
    assert [(each["type"], each["payload"]) for each in listed] == [("odd", 1)]
    assert "unknown type 'odd'" in command("message", "unhandled")


def test_mistakes_are_told(command: Command) -> None:
    command("message", "send", "--to", "a b", "--type", "order", code=2)
    command("message", "send", "--to", "ada", "--type", "order", "--wait", "0.2s", code=6)
    command("message", "send", "--to", "ada", "--type", "order", "--wait", "1s", "--from", "x", code=2)


async def test_a_script_without_a_loop_talks(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("ada")

    @node.on_message("double")
    async def double(message: Message) -> int:
        return int(message.payload) * 2

    def script() -> list[object]:
        with SyncMesh(store_url, settings=settings) as sync:
            got: list[object] = [sync.messages.request("ada", "double", 21)]
            sync.messages.send("bob", "note", "hi", sender="eve")
            with sync.messages.listen("bob") as messages:
                got.append(next(messages).payload)
            return got

    async with node.running(store_url, settings=settings):
        assert await asyncio.to_thread(script) == [42, "hi"]
    assert await mesh.records.count("msg/") == 0


async def test_both_surfaces_of_messages_are_equal(mesh: Mesh, store_url: str, settings: Settings) -> None:
    inner = {"aclose", "inbox", "take_reply"}

    def surfaces() -> None:
        with SyncMesh(store_url, settings=settings) as sync:
            own = {name for name in dir(sync.messages) if not name.startswith("_")}
            assert {name for name in dir(mesh.messages) if not name.startswith("_")} - inner == own

    await asyncio.to_thread(surfaces)
