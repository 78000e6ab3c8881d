"""A sender's order holds also where an inbox is read in several pages while messages come."""

from collections.abc import Awaitable, Callable, Sequence

from meshd.backends import Backend
from meshd.ids import new_id
from meshd.messages.inbox import PAGE
from meshd.messages.model import Message
from meshd.messages.sending import Post
from meshd.messages.service import Messages
from meshd.records import Record, RecordStore
from tests.messages.conftest import Heard, listening
from tests.support.waiting import wait_until


class Between:
    """The records of a store, where something happens after the first page of a listing."""

    def __init__(self, records: RecordStore, happens: Callable[[], Awaitable[None]]) -> None:
        self._records = records
        self._happens: Callable[[], Awaitable[None]] | None = happens

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        happens = self._happens
        if after and happens is not None:
            self._happens = None
            await happens()
        return await self._records.list(prefix, limit=limit, after=after)


async def test_a_message_made_early_and_kept_late_comes_before_the_next_of_its_sender(backend: Backend) -> None:
    early = new_id(lambda: 1_600_000_000_000)
    post = Post(backend.records, backend.events, max_bytes=100_000, inbox_limit=10_000)

    async def send(number: int, *, sender: str, id: str) -> None:
        message = Message(id=id, sender=sender, to="bob", type="note", payload=number)
        await post.send(message, ttl_ms=60_000, is_given=False)

    for number in range(PAGE):
        await send(number, sender="eve", id=new_id())

    async def two_come() -> None:
        await send(0, sender="ada", id=early)
        await send(1, sender="ada", id=new_id())

    heard = Heard()
    between = Between(backend.records, two_come)
    bob = Messages(between, backend.events, sender="bob")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- hands everything else on
    async with listening(bob, handle=heard):
        await wait_until(lambda: len(heard.messages) == PAGE + 2, timeout=20)
    assert [message.payload for message in heard.messages if message.sender == "ada"] == [0, 1]
    await bob.aclose()
    await post.aclose()
