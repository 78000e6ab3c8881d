"""Who gets a message, how often, and in which order: the same on every store."""

import asyncio
from datetime import timedelta

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import BackpressureError, InvalidArgumentError, InvalidPayloadError, PayloadTooLargeError
from meshd.events import START
from meshd.ids import new_id
from meshd.messages.codec import opened
from meshd.messages.delivering import Desk, Holder, Taken, Terms
from meshd.messages.handing import Refused
from meshd.messages.model import Message
from meshd.messages.places import MESSAGES_LOG
from meshd.messages.service import MessageOptions, Messages
from tests.messages.conftest import Heard, Join, listening
from tests.support.waiting import wait_until


async def test_only_the_addressee_gets_a_message(join: Join) -> None:
    ada, bob, eve = await join("ada"), await join("bob"), await join("eve")
    for_bob, for_eve = Heard(), Heard()
    async with listening(bob, handle=for_bob), listening(eve, handle=for_eve):
        await ada.send("bob", "note", {"text": "hi"}, metadata={"trace": "1"})
        await ada.send("eve", "note", "bye")
        await wait_until(lambda: for_bob.messages and for_eve.messages)
    message = for_bob.messages[0]
    assert (message.sender, message.to, message.type) == ("ada", "bob", "note")
    assert (message.payload, message.metadata, message.deliveries) == ({"text": "hi"}, {"trace": "1"}, 0)
    assert for_eve.payloads == ["bye"]


async def test_a_name_that_begins_like_another_is_another(join: Join) -> None:
    ada = await join("ada")
    heard = Heard()
    async with listening(await join("bob"), handle=heard):
        await ada.send("bob2", "note", "not for bob")
        await ada.send("bob", "note", "for bob")
        await wait_until(lambda: heard.messages)
    assert heard.payloads == ["for bob"]


async def test_a_message_waits_for_its_addressee(join: Join, backend: Backend, clock: ManualClock) -> None:
    sent = await (await join("ada")).send("bob", "note", 1)
    clock.advance(seconds=3600)
    heard = Heard()
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: heard.messages)
        await wait_until(lambda: _is_empty(backend, "msg/"))
    assert heard.messages[0].id == sent.id
    assert heard.messages[0].sent_ms == clock() - 3_600_000


async def test_a_handled_message_is_not_delivered_again(join: Join, backend: Backend) -> None:
    ada, heard = await join("ada"), Heard()
    async with listening(await join("bob"), handle=heard):
        await ada.send("bob", "note", 1)
        await wait_until(lambda: heard.messages)
    async with listening(await join("bob"), handle=heard):
        await ada.send("bob", "note", 2)
        await wait_until(lambda: len(heard.messages) > 1)
    assert heard.payloads == [1, 2]
    assert await backend.records.count("msg/") == 0


async def test_what_one_sender_sends_is_handled_in_order_while_others_overtake(join: Join) -> None:
    senders = [await join(f"sender-{number}") for number in range(3)]
    heard, gate = Heard(), asyncio.Event()

    async def handle(message: Message) -> None:
        if message.sender == "sender-0":
            await gate.wait()
        await heard(message)

    async with listening(await join("bob"), handle=handle):
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(_send_numbers(sender, 150))
        await wait_until(lambda: len(heard.messages) == 300, timeout=20)
        gate.set()
        await wait_until(lambda: len(heard.messages) == 450, timeout=20)
    for sender in senders:
        own = [message.payload for message in heard.messages if message.sender == sender.sender]
        assert own == list(range(150))


async def test_messages_kept_while_nobody_listened_come_in_order(join: Join) -> None:
    ada = await join("ada")
    for number in range(250):
        await ada.send("bob", "note", number)
    heard = Heard()
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: len(heard.messages) == 250, timeout=20)
    assert heard.payloads == list(range(250))


async def test_an_id_of_the_senders_own_is_delivered_once(join: Join, backend: Backend) -> None:
    ada, eve, heard = await join("ada"), await join("eve"), Heard()
    await ada.send("bob", "decision", 1, id="decision:p1")
    await ada.send("bob", "decision", 1, id="decision:p1")
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: heard.messages)
        await wait_until(lambda: _is_empty(backend, "msg/bob/"))
        await eve.send("bob", "decision", 1, id="decision:p1")
        await eve.send("bob", "decision", 2, id="decision:p2")
        await wait_until(lambda: _is_empty(backend, "msg/bob/"))
    assert sorted(heard.payloads) == [1, 2]


async def test_a_handler_that_fails_gets_the_message_again_and_holds_up_only_its_sender(
    join: Join, backend: Backend
) -> None:
    ada, eve, tries = await join("ada"), await join("eve"), list[tuple[str, object, int]]()

    async def handle(message: Message) -> None:
        tries.append((message.sender, message.payload, message.deliveries))
        if message.payload == "bad":
            raise RuntimeError("no luck")

    async with listening(await join("bob"), handle=handle):
        await ada.send("bob", "note", "bad")
        await ada.send("bob", "note", "good")
        await eve.send("bob", "note", "other")
        await wait_until(lambda: len(tries) == 5)
        await wait_until(lambda: _is_empty(backend, "msg/"))
    assert [each for each in tries if each[0] == "ada"] == [
        ("ada", "bad", 0), ("ada", "bad", 1), ("ada", "bad", 2), ("ada", "good", 0),
    ]  # fmt: skip
    (left,) = await ada.unhandled("bob")
    assert (left.message.payload, left.reason) == ("bad", "RuntimeError: no luck")
    assert left.message.deliveries == 3
    (event,) = await backend.events.read(MESSAGES_LOG, after=START)
    assert (event.body["event"], event.body["id"]) == ("unhandled", left.message.id)


async def test_a_refused_message_is_put_aside_at_once(join: Join) -> None:
    ada, count = await join("ada"), Heard()

    async def handle(message: Message) -> None:
        await count(message)
        raise Refused("unknown type 'odd'")

    async with listening(await join("bob"), handle=handle):
        await ada.send("bob", "odd", 1)
        await wait_until(ada.unhandled)
    assert len(count.messages) == 1
    (left,) = await ada.unhandled()
    assert left.reason == "unknown type 'odd'"
    assert await ada.forget("bob", left.message.id)
    assert await ada.unhandled() == []


async def test_two_who_listen_for_one_addressee_share_its_messages(join: Join) -> None:
    ada, one, two = await join("ada"), Heard(), Heard()
    async with listening(await join("x"), "bob", handle=one), listening(await join("y"), "bob", handle=two):
        for number in range(60):
            await ada.send("bob", "note", number)
        await wait_until(lambda: len(one.messages) + len(two.messages) == 60, timeout=20)
    assert sorted(one.payloads + two.payloads) == list(range(60))


async def test_what_a_listener_leaves_unhandled_goes_to_the_next_at_once(join: Join) -> None:
    ada, started = await join("ada"), asyncio.Event()

    async def hang(message: Message) -> None:
        started.set()
        await asyncio.Event().wait()

    async with listening(await join("x"), "bob", handle=hang):
        await ada.send("bob", "note", 1)
        await asyncio.wait_for(started.wait(), 10)
    heard = Heard()
    async with listening(await join("y"), "bob", handle=heard):
        await wait_until(lambda: heard.messages)
    assert heard.messages[0].deliveries == 0


async def test_a_holder_that_is_gone_loses_its_message_when_the_lease_is_over(
    join: Join, backend: Backend, clock: ManualClock
) -> None:
    ada, heard = await join("ada"), Heard()
    await ada.send("bob", "note", 1)
    await _take_and_die(backend, "client:x")
    async with listening(await join("y"), "bob", handle=heard):
        clock.advance(seconds=29)
        await ada.send("bob", "note", 2, sender="eve")
        await wait_until(lambda: heard.messages)
        assert heard.payloads == [2]
        clock.advance(seconds=2)
        await ada.send("bob", "note", 3, sender="eve")
        await wait_until(lambda: len(heard.messages) == 3)
    assert sorted(heard.payloads) == [1, 2, 3]
    assert next(each.deliveries for each in heard.messages if each.payload == 1) == 1
    assert await backend.records.count("msg/") == 0


async def test_the_next_life_of_a_holder_takes_its_message_at_once(join: Join, backend: Backend) -> None:
    ada, heard = await join("ada"), Heard()
    await ada.send("bob", "note", 1)
    await _take_and_die(backend, "node:x")
    async with listening(await join("x"), "bob", handle=heard, holder="node:x"):
        await wait_until(lambda: heard.messages)
    assert heard.messages[0].deliveries == 1


async def test_a_message_that_kills_its_holders_is_put_aside(join: Join, backend: Backend) -> None:
    ada, heard = await join("ada"), Heard()
    await ada.send("bob", "note", "poison")
    for _ in range(3):
        await _take_and_die(backend, "node:x")
    async with listening(await join("x"), "bob", handle=heard, holder="node:x"):
        await wait_until(lambda: ada.unhandled("bob"))
    assert heard.messages == []
    assert "holder was gone" in (await ada.unhandled())[0].reason


async def test_who_lost_a_message_changes_it_no_more(join: Join, backend: Backend, clock: ManualClock) -> None:
    ada = await join("ada")
    await ada.send("bob", "note", 1)
    desk, first = await _take_and_die(backend, "client:x")
    clock.advance(seconds=31)
    _, second = await _take_and_die(backend, "client:y")
    assert second.letter.message.deliveries == 1
    await desk.done(first)
    assert await desk.keep(first) is None
    assert await desk.failed(first, "x") is None
    (record,) = await backend.records.list("msg/bob/")
    assert record.revision == second.letter.revision


async def test_a_message_whose_time_is_over_is_not_delivered(join: Join, clock: ManualClock) -> None:
    ada, heard = await join("ada"), Heard()
    await ada.send("bob", "note", "late", ttl=timedelta(seconds=10))
    await ada.send("bob", "note", "still good", ttl=timedelta(seconds=30))
    clock.advance(seconds=11)
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: heard.messages)
    assert heard.payloads == ["still good"]


async def test_a_large_message_is_refused_whole_and_a_lesser_one_arrives_whole(join: Join, backend: Backend) -> None:
    ada, heard = await join("ada"), Heard()
    with pytest.raises(PayloadTooLargeError, match=r"over the limit of 256000.*messages\.max_bytes"):
        await ada.send("bob", "note", "x" * 1_048_576)
    assert await backend.records.count("msg/") == 0
    text = "0123456789" * 25_000
    await ada.send("bob", "note", text)
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: heard.messages)
    assert heard.payloads == [text]


async def test_a_full_inbox_refuses_by_name_and_the_others_go_on(join: Join) -> None:
    ada = await join("ada", MessageOptions(inbox_limit=20))
    for number in range(20):
        await ada.send("bob", "note", number)
    with pytest.raises(BackpressureError, match=r"inbox of 'bob' holds 20 messages, its limit is 20"):
        await ada.send("bob", "note", 20)
    await ada.send("eve", "note", 0)
    heard = Heard()
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: len(heard.messages) == 20)
    await ada.send("bob", "note", 21)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b'[1000,0,"",0,""]\n[]',
        b'[1000,0,"",0,""]\n{"id": "1", "from": [], "to": "bob", "type": "note"}',
        b'["soon",0,"",0,""]\n{"id": "1", "from": "ada", "to": "bob", "type": "note"}',
    ],
)
async def test_what_is_no_message_keeps_no_other_from_being_heard(join: Join, backend: Backend, value: bytes) -> None:
    await backend.records.put("msg/bob/0", value, ttl_ms=60_000)
    ada, heard = await join("ada"), Heard()
    await ada.send("bob", "note", 1)
    async with listening(await join("bob"), handle=heard):
        await wait_until(lambda: heard.payloads == [1])
        await ada.send("bob", "note", 2)
        await wait_until(lambda: heard.payloads == [1, 2])


@pytest.mark.parametrize(
    ("to", "type", "id"),
    [("", "note", None), ("b/b", "note", None), ("bob", "", None), ("bob", "a b", None), ("bob", "note", "~x"),
     ("bob", "note", "x" * 129)],
)  # fmt: skip
async def test_names_that_are_none_are_refused(join: Join, to: str, type: str, id: str | None) -> None:
    with pytest.raises(InvalidArgumentError):
        await (await join("ada")).send(to, type, id=id)


async def test_a_payload_without_a_json_form_is_refused(join: Join) -> None:
    with pytest.raises(InvalidPayloadError):
        await (await join("ada")).send("bob", "note", object())


async def _send_numbers(messages: Messages, count: int) -> None:
    for number in range(count):
        await messages.send("bob", "note", number)


async def _take_and_die(backend: Backend, name: str) -> tuple[Desk, Taken]:
    """Take bob's first message as a process that does nothing more with it."""
    desk = Desk(backend.records, backend.events, holder=Holder(name=name, life=new_id()), terms=Terms())
    record = (await backend.records.list("msg/bob/", limit=1))[0]
    letter = opened(record, read_at=asyncio.get_running_loop().time())
    assert desk.wait_ms(letter) == 0
    taken = await desk.take(letter)
    assert taken is not None
    return desk, taken


async def _is_empty(backend: Backend, prefix: str) -> bool:
    return await backend.records.count(prefix) == 0
