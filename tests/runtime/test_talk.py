"""What members of one group say to each other: to who has a role, each message once, in order, dropped at the end."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd import AutonomousAgent, GroupTask, Mesh, Node
from meshd.errors import DeadlineError, NotFoundError
from meshd.messages.model import Message
from meshd.runtime.signals import Reject
from meshd.runtime.talk import MAX_PARTS, MAX_WAITING, TALK, Talk

PATIENCE = timedelta(seconds=30)


def a_message(number: int = 0, *, announcement: str = "work", to: str = "ada", kind: str = "draft") -> Message:
    payload = {"announcement": announcement, "kind": kind, "payload": number}
    return Message(id=f"m{number}", sender="bob", to=to, type=TALK, payload=payload)


async def test_messages_of_a_kind_are_taken_in_order_and_once() -> None:
    talk = Talk()
    for number in range(3):
        await talk.hear(a_message(number))
    await talk.hear(a_message(9, kind="verdict"))
    assert [await talk.next("work", "ada", "draft") for _ in range(3)] == [0, 1, 2]
    assert await talk.next("work", "ada", "verdict") == 9


async def test_who_waits_is_woken_by_its_own_kind_only() -> None:
    talk = Talk()
    waiting = asyncio.create_task(talk.next("work", "ada", "draft"))
    await asyncio.sleep(0)
    await talk.hear(a_message(1, kind="verdict"))
    await talk.hear(a_message(2, to="eve"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await talk.hear(a_message(3))
    assert await waiting == 3


async def test_a_part_that_is_over_takes_its_messages_with_it() -> None:
    talk = Talk()
    await talk.hear(a_message(1))
    talk.forget("work", "ada")
    await talk.hear(a_message(2))
    assert await talk.next("work", "ada", "draft") == 2


async def test_too_many_messages_for_one_part_are_refused() -> None:
    talk = Talk()
    for number in range(MAX_WAITING):
        await talk.hear(a_message(number))
    with pytest.raises(Reject, match="wait for ada in the group of work"):
        await talk.hear(a_message(MAX_WAITING))


async def test_a_message_that_names_no_part_is_refused() -> None:
    with pytest.raises(Reject, match="names an announcement"):
        await Talk().hear(Message(id="m", sender="bob", to="ada", type=TALK, payload="hello"))


async def test_of_too_many_parts_the_one_nobody_waits_in_is_dropped() -> None:
    talk = Talk()
    waiting = asyncio.create_task(talk.next("first", "ada", "draft"))
    await asyncio.sleep(0)
    await talk.hear(a_message(1, announcement="second"))
    for number in range(MAX_PARTS):
        await talk.hear(a_message(number, announcement=f"more-{number}"))
    await talk.hear(a_message(5, announcement="first"))
    assert await waiting == 5
    late = asyncio.create_task(talk.next("second", "ada", "draft"))
    await asyncio.sleep(0)
    assert not late.done()
    late.cancel()


class Ping(AutonomousAgent):
    skills = ("ping",)

    async def on_start(self, task: GroupTask) -> Any:
        with pytest.raises(NotFoundError, match="no-such-role"):
            await task.tell("no-such-role", "ball")
        with pytest.raises(DeadlineError, match="told no 'ball'"):
            await task.heard("ball", timeout=timedelta(milliseconds=1))
        played = 0
        for _ in range(3):
            await task.tell("pong", "ball", {"played": played})
            played = (await task.heard("ball", timeout=PATIENCE))["played"]
        return played


class Pong(AutonomousAgent):
    skills = ("pong",)

    async def on_start(self, task: GroupTask) -> Any:
        for _ in range(3):
            ball = await task.heard("ball", timeout=PATIENCE)
            await task.tell("ping", "ball", {"played": ball["played"] + 1})
        return "tired"


async def test_members_on_two_nodes_talk_while_they_work(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    left, right = Node("left").host(Ping("pi")), Node("right").host(Pong("po"))
    async with left.running(url), right.running(url), Mesh(url) as mesh:
        game = await mesh.groups.announce("a game", skills=["ping", "pong"])
        assert await game.result(PATIENCE) == {"ping": 3, "pong": "tired"}
