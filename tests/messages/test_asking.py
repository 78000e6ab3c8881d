"""Requests and queries: what comes back, and what happens when nothing does."""

import asyncio
from datetime import timedelta

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import DeadlineError, UnhandledMessageError
from meshd.messages.handing import Handle
from meshd.messages.model import Message, MessageType
from meshd.messages.service import Messages
from tests.messages.conftest import Heard, Join, listening
from tests.support.waiting import wait_until

SHORT = timedelta(seconds=0.3)
LONG = timedelta(seconds=20)


async def test_a_request_gets_the_reply_to_itself(join: Join, backend: Backend) -> None:
    ada, bob = await join("ada"), await join("bob")
    replies: list[Message] = []

    async def handle(message: Message) -> None:
        replies.append(await bob.reply(message, {"twice": message.payload * 2}))

    async with listening(bob, handle=handle):
        answers = await asyncio.gather(*[ada.request("bob", "double", number, timeout=LONG) for number in range(20)])
        assert answers == [{"twice": number * 2} for number in range(20)]
        assert {reply.type for reply in replies} == {MessageType.RESPONSE}
        await wait_until(lambda: _is_empty(backend))
    assert len({reply.reply_to for reply in replies}) == 20


async def test_a_request_nobody_hears_ends_at_its_deadline_and_is_not_delivered_later(
    join: Join, clock: ManualClock
) -> None:
    ada, heard = await join("ada"), Heard()
    with pytest.raises(DeadlineError, match=r"'bob' did not answer 'ask' within 0\.3 s"):
        await ada.request("bob", "ask", timeout=SHORT)
    clock.advance(seconds=0.3)
    async with listening(await join("bob"), handle=heard):
        await ada.send("bob", "note")
        await wait_until(lambda: heard.messages)
    assert [message.type for message in heard.messages] == ["note"]


async def test_a_late_reply_reaches_nobody_and_is_removed(join: Join, backend: Backend) -> None:
    ada, bob, asked = await join("ada"), await join("bob"), Heard()
    async with listening(bob, handle=asked):
        with pytest.raises(DeadlineError):
            await ada.request("bob", "ask", timeout=SHORT)
        await wait_until(lambda: asked.messages)
        await bob.reply(asked.messages[0], "too late")
        await wait_until(lambda: _is_empty(backend))


async def test_who_refuses_a_request_says_why(join: Join) -> None:
    ada, bob = await join("ada"), await join("bob")

    async def handle(message: Message) -> None:
        await bob.refuse(message, "unknown type")

    async with listening(bob, handle=handle):
        with pytest.raises(UnhandledMessageError, match="'bob' did not handle 'ask': unknown type"):
            await ada.request("bob", "ask", timeout=LONG)
        await ada.send("bob", "ask")


async def test_a_query_names_those_who_were_silent(join: Join) -> None:
    ada, one, two = await join("ada"), await join("one"), await join("two")
    async with listening(one, handle=_parrot(one)), listening(two, handle=_parrot(two)):
        answers = await ada.query("ask", 7, to=["one", "two", "dead", "ada"], timeout=timedelta(seconds=1.5))
    assert answers.replies == {"one": 7, "two": 7}
    assert answers.silent == {"dead"}


async def test_a_query_ends_when_enough_have_answered(join: Join) -> None:
    ada, one, two = await join("ada"), await join("one"), await join("two")
    async with listening(one, handle=_parrot(one)), listening(two, handle=_parrot(two)):
        answers = await ada.query("ask", 7, to=["one", "two", "dead"], timeout=timedelta(hours=1), enough=2)
    assert answers.replies == {"one": 7, "two": 7}


async def test_a_query_to_nobody_ends_at_once(join: Join) -> None:
    answers = await (await join("ada")).query("ask", timeout=timedelta(hours=1))
    assert (answers.replies, answers.silent) == ({}, frozenset())


async def test_a_loop_listens_and_acknowledges_by_asking_for_the_next(join: Join, backend: Backend) -> None:
    ada, bob = await join("ada"), await join("bob")
    got: list[object] = []
    async with bob.listen("bob") as messages:
        for number in range(3):
            await ada.send("bob", "note", number)
        async for message in messages:
            got.append(message.payload)
            if len(got) == 3:
                break
    assert got == [0, 1, 2]
    assert await _is_empty(backend)


async def test_what_a_loop_fails_at_is_delivered_again(join: Join, backend: Backend) -> None:
    ada, bob = await join("ada"), await join("bob")
    await ada.send("bob", "note", 1)

    async def fail() -> None:
        async with bob.listen("bob") as messages:
            await anext(messages)
            raise RuntimeError("not done")

    with pytest.raises(RuntimeError, match="not done"):
        await fail()
    assert await backend.records.count("msg/bob/") == 1
    async with bob.listen("bob") as messages:
        assert (await anext(messages)).payload == 1
    assert await _is_empty(backend)


async def test_every_message_sent_is_a_use_of_its_edge(backend: Backend) -> None:
    uses: list[tuple[str, str]] = []
    ada = Messages(backend.records, backend.events, sender="ada", on_sent=lambda sender, to: uses.append((sender, to)))
    await ada.send("bob", "note")
    await ada.send("eve", "note", sender="bob")
    await ada.aclose()
    assert uses == [("ada", "bob"), ("bob", "eve")]


def _parrot(messages: Messages) -> Handle:
    async def handle(message: Message) -> None:
        await messages.reply(message, message.payload)

    return handle


async def _is_empty(backend: Backend) -> bool:
    return await backend.records.count("msg/") == 0
