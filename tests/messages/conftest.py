"""Message services on one store, each as a process of its own would have it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import pytest

from meshd import Mesh, Settings
from meshd.messages.handing import Handle, InboxOptions
from meshd.messages.inbox import Inbox
from meshd.messages.model import Message
from meshd.messages.service import MessageOptions, Messages
from tests.conftest import OpenAgain


class Heard:
    """What an inbox was handed, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    @property
    def payloads(self) -> list[Any]:
        return [message.payload for message in self.messages]

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)


class Join(Protocol):
    """Opens the store again, for one who sends as `sender`."""

    async def __call__(self, sender: str, options: MessageOptions | None = None) -> Messages: ...


@pytest.fixture
async def join(open_again: OpenAgain) -> AsyncIterator[Join]:
    async with AsyncExitStack() as stack:

        async def opened(sender: str, options: MessageOptions | None = None) -> Messages:
            backend = await open_again()
            messages = Messages(backend.records, backend.events, sender=sender, options=options)
            stack.push_async_callback(messages.aclose)
            return messages

        yield opened


@asynccontextmanager
async def listening(messages: Messages, *addressees: str, handle: Handle, holder: str = "") -> AsyncGenerator[Inbox]:
    """Hear for these while the block runs."""
    inbox = messages.inbox(handle, options=InboxOptions(retry_pause_s=0.001), holder=holder)
    inbox.start()
    try:
        inbox.hear(addressees or [messages.sender])
        async with asyncio.timeout(10):
            await inbox.heard()
        yield inbox
    finally:
        await inbox.aclose()


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return Settings.load(
        mesh=mesh_name,
        heartbeat_interval_seconds=0.1,
        node_timeout_seconds=1.0,
        tasks={"lease_seconds": 2.0, "renew_seconds": 0.5, "sweep_seconds": 0.1, "poll_seconds": 0.5},
    )


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened:
        yield opened
