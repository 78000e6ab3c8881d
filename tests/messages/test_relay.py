"""Messages while the store is away: over links between nodes, at most once, and said so."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Agent, Mesh, Node, Settings
from meshd.errors import StoreUnreachableError
from meshd.messages.model import Message
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


@pytest.fixture
def linked(mesh_name: str, tmp_path: Path) -> Settings:
    return Settings.load(
        mesh=mesh_name,
        heartbeat_interval_seconds=0.2,
        node_timeout_seconds=30.0,
        state_dir=str(tmp_path / "state"),
        peers={"enabled": "on"},
        roles={"play": []},
    )


@pytest.fixture
async def pair(server: RedisServer, linked: Settings) -> AsyncIterator[tuple[Node, Node, list[Message]]]:
    """Two nodes that reach each other, and what the agent `bea` on the second was told."""
    ada, bob, got = Node("ada"), Node("bob", agents=[Agent(id="bea", name="bea")]), list[Message]()

    @bob.on_message("note")
    async def note(message: Message) -> None:
        got.append(message)

    @bob.on_message("double")
    async def double(message: Message) -> int:
        return int(message.payload) * 2

    async with AsyncExitStack() as stack:
        for node in (ada, bob):
            await stack.enter_async_context(node.running(server.url, settings=linked))
        async with Mesh(server.url, settings=linked) as mesh:

            async def see_each_other() -> bool:
                nodes = await mesh.nodes.list()
                return len(nodes) == 2 and all(node.sightings.reached for node in nodes)

            await wait_until(see_each_other, timeout=30)
        yield ada, bob, got
        if not server.is_running:
            await asyncio.to_thread(server.restart)


async def test_while_the_store_is_away_messages_go_over_links_and_come_once(
    pair: tuple[Node, Node, list[Message]], server: RedisServer
) -> None:
    ada, _, got = pair
    kept = await ada.messages.send("bea", "note", 0)
    assert "delivery" not in kept.metadata
    await wait_until(lambda: len(got) == 1)
    await asyncio.to_thread(server.kill)
    for number in range(1, 20):
        sent = await ada.messages.send("bea", "note", number)
        assert sent.metadata["delivery"] == "at-most-once"
    assert await ada.messages.request("bea", "double", 21, timeout=SOON) == 42
    await wait_until(lambda: len(got) == 20)
    with pytest.raises(StoreUnreachableError):
        await ada.messages.send("nobody", "note")
    await asyncio.to_thread(server.restart)

    async def is_sent() -> bool:
        try:
            return "delivery" not in (await ada.messages.send("bea", "note", "kept")).metadata
        except StoreUnreachableError:
            return False

    await wait_until(is_sent, timeout=20)
    await wait_until(lambda: "kept" in [message.payload for message in got], timeout=20)
    assert [message.payload for message in got if message.payload != "kept"] == list(range(20))
