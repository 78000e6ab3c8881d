"""Messages in hand while something goes wrong in between: what is held is kept, or given back."""

import asyncio
from random import Random

from meshd.backends import Backend
from meshd.errors import CorruptDataError
from meshd.messages.codec import Letter, opened
from meshd.messages.delivering import Desk, Holder, Taken, Terms
from meshd.messages.handing import Hands, InboxOptions
from meshd.messages.model import Message
from tests.messages.conftest import Join


class SlowDesk(Desk):
    """The store has written, and its answer is on the way until `gate` opens."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.records, backend.events, holder=Holder(name="client:x", life="1"), terms=Terms())
        self.written = asyncio.Event()
        self.gate = asyncio.Event()

    async def take(self, letter: Letter) -> Taken | None:
        taken = await super().take(letter)
        self.written.set()
        await self.gate.wait()
        return taken


class DamagedDesk(Desk):
    """The first renewal meets a damaged record."""

    def __init__(self, backend: Backend) -> None:
        terms = Terms(lease_ms=600)
        super().__init__(backend.records, backend.events, holder=Holder(name="client:x", life="1"), terms=terms)
        self.renewals = 0
        self.renewed = asyncio.Event()

    async def keep(self, taken: Taken) -> Taken | None:
        self.renewals += 1
        if self.renewals == 1:
            raise CorruptDataError("damaged")
        kept = await super().keep(taken)
        self.renewed.set()
        return kept


def hands_at(desk: Desk, handle: "asyncio.Event") -> Hands:
    async def wait(_: Message) -> None:
        await handle.wait()

    return Hands(desk, wait, options=InboxOptions(), freed=lambda _: None, rng=Random(1))


async def letter_to(backend: Backend, agent: str) -> Letter:
    (record,) = await backend.records.list(f"msg/{agent}/")
    return opened(record, read_at=asyncio.get_running_loop().time())


async def test_what_was_taken_just_when_all_stops_is_given_back(join: Join, backend: Backend) -> None:
    await (await join("ada")).send("bob", "note", 1)
    desk = SlowDesk(backend)
    hands = hands_at(desk, asyncio.Event())
    hands.add(await letter_to(backend, "bob"))
    async with asyncio.timeout(10):
        await desk.written.wait()
        assert (await letter_to(backend, "bob")).delivery.holder == "client:x#1"
        closing = asyncio.create_task(hands.aclose(grace_s=0))
        await asyncio.sleep(0)
        desk.gate.set()
        await closing
    left = (await letter_to(backend, "bob")).delivery
    assert (left.holder, left.count) == ("", 0)


async def test_a_renewal_that_fails_ends_no_other(join: Join, backend: Backend) -> None:
    await (await join("ada")).send("bob", "note", 1)
    desk, handled = DamagedDesk(backend), asyncio.Event()
    hands = hands_at(desk, handled)
    keeping = asyncio.create_task(hands.keep_holds())
    hands.add(await letter_to(backend, "bob"))
    async with asyncio.timeout(10):
        await desk.renewed.wait()
        handled.set()
        hands_done = hands.finished()
        hands.stop()
        await hands_done
    assert not keeping.done()
    keeping.cancel()
    await hands.aclose(grace_s=5)
    assert await backend.records.count("msg/bob/") == 0
