"""What nodes do with messages: rows F10 to F12, N8 and the exchange of I12, with real processes."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Agent, Mesh, Node, Reject, Settings
from meshd.errors import AlreadyExistsError, UnhandledMessageError
from meshd.messages.model import Message, MessageType
from meshd.nodes.model import NodeStatus
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)

Talk = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def talk(mesh: Mesh, store_url: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Talk]:
    """Starts a talker; `mesh` closes after the last of them has ended."""
    del mesh
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *agents: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.messages.talker", store_url, mesh_name, name, str(tmp_path), *agents]
        processes.append(subprocess.Popen(command))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def notes(folder: Path, name: str) -> list[str]:
    file = folder / f"{name}.notes"
    return file.read_text().splitlines() if file.exists() else []


async def test_a_message_reaches_its_addressee_only_also_after_a_restart(
    mesh: Mesh, talk: Talk, tmp_path: Path
) -> None:
    first, _ = talk("ada"), talk("bob")
    assert (await mesh.messages.request("ada", "ping", timeout=SOON))["pid"] == first.pid
    await mesh.messages.request("bob", "ping", timeout=SOON)
    first.kill()
    first.wait()
    await mesh.messages.send("ada", "note", "while away", sender="eve")
    talk("ada")
    await wait_until(lambda: notes(tmp_path, "ada") == ["eve while away"], timeout=20)
    assert notes(tmp_path, "bob") == []


async def test_a_message_whose_handler_died_with_its_process_is_delivered_to_the_next(
    mesh: Mesh, talk: Talk, tmp_path: Path
) -> None:
    first = talk("ada")
    await mesh.messages.send("ada", "hold", sender="eve")
    await mesh.messages.send("ada", "note", "after", sender="eve")
    await wait_until((tmp_path / "ada.holding").exists, timeout=20)
    first.kill()
    first.wait()
    (tmp_path / "ada.go").touch()
    talk("ada")
    await wait_until(lambda: len(notes(tmp_path, "ada")) == 2, timeout=20)
    assert notes(tmp_path, "ada") == ["eve held 1", "eve after"]


async def test_a_node_that_is_told_to_go_finishes_what_it_handles(mesh: Mesh, talk: Talk, tmp_path: Path) -> None:
    process = talk("ada")
    await mesh.messages.send("ada", "hold", sender="eve")
    await wait_until((tmp_path / "ada.holding").exists, timeout=20)
    process.send_signal(signal.SIGTERM)

    async def is_draining() -> bool:
        return (await mesh.nodes.get("ada")).vitals.status is NodeStatus.SHUTTING_DOWN

    await wait_until(is_draining, timeout=20)
    await mesh.messages.send("ada", "note", "too late", sender="eve")
    (tmp_path / "ada.go").touch()
    await asyncio.to_thread(process.wait, 20)
    assert notes(tmp_path, "ada") == ["eve held 0"]
    assert await mesh.records.count("msg/ada/") == 1


async def test_others_keep_exchanging_while_each_process_is_killed_in_turn(
    mesh: Mesh, talk: Talk, tmp_path: Path
) -> None:
    names = ["ada", "bob", "eve"]
    processes = {name: talk(name) for name in names}
    for name in names:
        await mesh.messages.request(name, "ping", timeout=SOON)
    for victim in names[:-1]:
        processes[victim].kill()
        processes.pop(victim).wait()
        for name in processes:
            assert await mesh.messages.request(name, "say", names, timeout=SOON) == len(names)
    await wait_until(lambda: len(notes(tmp_path, "eve")) == 3, timeout=20)
    talk("ada")
    await wait_until(lambda: len(notes(tmp_path, "ada")) == 3, timeout=20)


async def test_an_agent_that_only_talks_holds_no_graph_and_no_votes(mesh: Mesh, talk: Talk) -> None:
    for name in ("ada", "bob"):
        talk(name)
    await mesh.messages.request("bob", "ping", timeout=SOON)
    assert await mesh.messages.request("ada", "say", ["bob"], timeout=SOON) == 1
    held = await mesh.messages.request("ada", "inventory", timeout=SOON)
    assert "meshd.messages.service.Messages" in held
    rooms = ("meshd.topology.", "meshd.votes.")
    managers = [kind for kind in held if "Manager" in kind or kind.startswith("meshd.runtime.duties.")]
    assert managers == []
    for name in ("Graph", "Edge", "Path", "Out", "Proposal", "CastVote", "Tally", "Decision", "Electorate"):
        assert [kind for kind in held if kind.startswith(rooms) and kind.endswith(f".{name}")] == []


async def test_each_type_goes_to_its_handler_and_an_unknown_one_is_kept_and_reported(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node, got = Node("ada"), list[str]()
    for type in ("task", "waggle", "vote", "heartbeat", "topology", "my.own"):

        @node.on_message(type)
        async def handle(message: Message, type: str = type) -> None:
            assert message.type == type
            got.append(type)

    @node.on_message("bad")
    def reject(message: Message) -> None:
        raise Reject("never")

    async with node.running(store_url, settings=settings):
        for type in ("task", "waggle", "vote", "heartbeat", "topology", "my.own"):
            await mesh.messages.send("ada", type)
        await wait_until(lambda: len(got) == 6)
        with pytest.raises(UnhandledMessageError, match="unknown type 'odd': node ada has no handler for it"):
            await mesh.messages.request("ada", "odd", timeout=SOON)
        with pytest.raises(UnhandledMessageError, match="never"):
            await mesh.messages.request("ada", "bad", timeout=SOON)
        await wait_until(lambda: _left(mesh, 2))
    kept = {each.message.type: each.reason for each in await mesh.messages.unhandled("ada")}
    assert kept == {"odd": "unknown type 'odd': node ada has no handler for it", "bad": "never"}
    events = await mesh.events.read("messages")
    assert {event.body["type"] for event in events} == {"odd", "bad"}


async def test_a_handler_for_the_rest_takes_what_has_none(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("ada")

    @node.on_message()
    async def rest(message: Message) -> str:
        return f"rest {message.type}"

    with pytest.raises(AlreadyExistsError):
        node.on_message()(rest)
    async with node.running(store_url, settings=settings):
        assert await mesh.messages.request("ada", "odd", timeout=SOON) == "rest odd"


@pytest.mark.parametrize(
    "type",
    [
        MessageType.HANDSHAKE,
        MessageType.STATUS_REQUEST,
        MessageType.SYNC_REQUEST,
        MessageType.HEARTBEAT,
        MessageType.TOPOLOGY,
    ],
)
async def test_every_node_answers_what_it_is_asked_about_itself(
    mesh: Mesh, store_url: str, settings: Settings, type: MessageType
) -> None:
    async with Node("ada", capabilities=["x"]).running(store_url, settings=settings):
        answer = await mesh.messages.request("ada", type, timeout=SOON)
    assert "ada" in (answer.get("node"), answer.get("agent"))
    if type is MessageType.HANDSHAKE:
        assert answer["agents"] == ["ada"]
        assert "x" in answer["capabilities"]
    if type is MessageType.SYNC_REQUEST:
        assert answer["synced"]


async def test_agents_added_later_are_heard_and_removed_ones_are_not(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node, got = Node("ada"), list[str]()

    @node.on_message("note")
    async def note(message: Message) -> None:
        got.append(message.to)

    async with node.running(store_url, settings=settings):
        await mesh.messages.send("late", "note")
        node.add_agent(Agent(id="late", name="late"))
        await wait_until(lambda: got == ["late"])
        node.remove_agent("late")
        await mesh.messages.send("late", "note")
        await mesh.messages.send("ada", "note")
        await wait_until(lambda: got == ["late", "ada"])
    assert await mesh.records.count("msg/late/") == 1


async def test_a_failing_handler_does_not_stop_others_and_a_request_learns_of_it(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node = Node("ada")

    @node.on_message("bad")
    async def bad(message: Message) -> None:
        raise RuntimeError("no luck")

    @node.on_message("good")
    async def good(message: Message) -> int:
        return 1

    async with node.running(store_url, settings=settings):
        await mesh.messages.send("ada", "bad", sender="eve")
        assert await mesh.messages.request("ada", "good", timeout=SOON) == 1
        with pytest.raises(UnhandledMessageError, match="RuntimeError: no luck"):
            await mesh.messages.request("ada", "bad", timeout=SOON)


async def test_a_query_without_names_asks_every_agent_of_every_live_node(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with (
        Node("n1", agents=[Agent(id="a1", name="a1"), Agent(id="a2", name="a2")]).running(store_url, settings=settings),
        Node("n2").running(store_url, settings=settings),
    ):
        answers = await mesh.messages.query("heartbeat", timeout=SOON)
    assert set(answers.replies) == {"a1", "a2", "n2"}
    assert answers.silent == frozenset()


async def test_messages_between_agents_are_told_to_the_topology_as_uses(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with (
        Node("ada").running(store_url, settings=settings) as ada,
        Node("bob").running(store_url, settings=settings),
    ):
        for _ in range(3):
            await ada.messages.send("bob", "heartbeat")
        await mesh.messages.send("bob", "heartbeat")

    uses = [use for event in await mesh.events.read("topology", limit=1000) for use in event.body.get("uses", ())]
    assert sum(use[2] for use in uses if use[:2] == ["ada", "bob"]) == 3
    assert not [use for use in uses if use[0].startswith("client:")]


async def test_fifty_agents_exchange_messages(mesh: Mesh, store_url: str, settings: Settings) -> None:
    got: dict[str, list[str]] = {}
    nodes = [
        Node(f"n{number}", agents=[Agent(id=f"a{number}.{each}", name="a") for each in range(10)])
        for number in range(5)
    ]
    names = [agent.id for node in nodes for agent in node.profile.agents]
    for node in nodes:

        @node.on_message("note")
        async def note(message: Message) -> None:
            got.setdefault(message.to, []).append(message.sender)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        leave = asyncio.Event()
        ready = [asyncio.Event() for _ in nodes]

        async def live(node: Node, is_ready: asyncio.Event) -> None:
            async with node.running(store_url, settings=settings):
                is_ready.set()
                await leave.wait()

        for node, is_ready in zip(nodes, ready, strict=True):
            group.create_task(live(node, is_ready))
        for is_ready in ready:
            await is_ready.wait()
        for number, name in enumerate(names):
            for step in (1, 7, 13):
                await mesh.messages.send(names[(number + step) % 50], "note", sender=name)
        await wait_until(lambda: sum(map(len, got.values())) == 150, timeout=30)
        leave.set()
    assert all(len(set(senders)) == 3 for senders in got.values())
    assert set(got) == set(names)


async def _left(mesh: Mesh, count: int) -> bool:
    return len(await mesh.messages.unhandled("ada")) == count
