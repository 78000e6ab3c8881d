"""What messages come through: a store that is killed and comes back, with those who listen and send still there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.errors import UnavailableError
from meshd.messages.model import Message
from meshd.messages.service import Messages
from tests.messages.conftest import Heard, Join, listening
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


@pytest.fixture
async def join_own(server: RedisServer, mesh_name: str) -> AsyncIterator[Join]:
    async with AsyncExitStack() as stack:

        async def opened(sender: str, options: object = None) -> Messages:
            del options
            backend = await open_backend(server.url, BackendOptions(mesh=mesh_name, timeout_ms=1_000))
            stack.push_async_callback(backend.aclose)
            messages = Messages(backend.records, backend.events, sender=sender)
            stack.push_async_callback(messages.aclose)
            return messages

        yield opened


async def test_listeners_go_on_when_the_store_is_back(join_own: Join, server: RedisServer) -> None:
    ada, heard = await join_own("ada"), Heard()
    async with listening(await join_own("bob"), handle=heard):
        await ada.send("bob", "note", 1)
        await wait_until(lambda: heard.payloads == [1])
        await asyncio.to_thread(server.restart)
        await _sent(ada, 2)
        await wait_until(lambda: heard.payloads == [1, 2], timeout=20)


async def test_what_was_handled_while_the_store_was_away_is_not_handled_again(
    join_own: Join, server: RedisServer
) -> None:
    ada, bob, heard = await join_own("ada"), await join_own("bob"), Heard()
    started, gate = asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        await heard(message)
        started.set()
        await gate.wait()

    async with listening(bob, handle=handle):
        await ada.send("bob", "note", 1)
        await ada.send("bob", "note", 2)
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.to_thread(server.kill)
        gate.set()
        await wait_until(lambda: heard.payloads == [1, 2])
        await asyncio.to_thread(server.restart)

        async def is_empty() -> bool:
            try:
                return not await bob.waiting("bob")
            except UnavailableError:
                return False

        await wait_until(is_empty, timeout=20)
    assert heard.payloads == [1, 2]


async def _sent(messages: Messages, payload: int) -> None:
    async def is_sent() -> bool:
        try:
            await messages.send("bob", "note", payload, id=f"own-{payload}")
        except UnavailableError:
            return False
        return True

    await wait_until(is_sent, timeout=20)
