"""Listening to a changing set of topics, on real stores."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from meshd.backends import Backend
from meshd.events import Hint
from meshd.groups.ear import Ear
from meshd.groups.model import GroupMessage
from meshd.groups.wire import Envelope, Post
from tests.conftest import OpenAgain
from tests.support.waiting import wait_until


class Heard:
    """An ear, and what it heard."""

    def __init__(self, backend: Backend) -> None:
        self.envelopes: list[Envelope] = []
        self.hints: list[Hint] = []
        self.gaps = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.ear = Ear(backend.events, self._hear, overhear=self._overhear, missed=self._missed)

    async def _hear(self, envelope: Envelope) -> None:
        if envelope.sender == "slow":
            await self.hold.wait()
        if envelope.sender == "broken":
            raise RuntimeError("broken")
        self.envelopes.append(envelope)

    async def _overhear(self, hint: Hint) -> None:
        self.hints.append(hint)

    def _missed(self) -> None:
        self.gaps += 1


@pytest.fixture
async def heard(backend: Backend) -> AsyncIterator[Heard]:
    heard = Heard(backend)
    heard.ear.start()
    yield heard
    heard.hold.set()
    await heard.ear.aclose()


@pytest.fixture
async def post(open_again: OpenAgain) -> Post:
    return Post((await open_again()).events, sender="boss")


def envelope(announcement: str = "t1", *, sender: str = "boss") -> Envelope:
    return Envelope(type=GroupMessage.TASK_START, announcement=announcement, sender=sender, payload={"round": 1})


async def test_what_is_said_after_heard_returns_is_handed_over_with_its_topic(heard: Heard, post: Post) -> None:
    assert [heard.ear.is_listening] == [False]
    heard.ear.listen(["one", "two"])
    await heard.ear.heard()
    await post.send("two", envelope())
    await wait_until(lambda: heard.envelopes)
    assert [heard.ear.is_listening] == [True]
    assert heard.envelopes[0].topic == "two"
    assert heard.envelopes[0].type is GroupMessage.TASK_START
    assert heard.envelopes[0].payload == {"round": 1}


async def test_a_change_of_topics_loses_nothing_of_those_that_stay(heard: Heard, post: Post) -> None:
    heard.ear.listen(["one"])
    await heard.ear.heard()
    for number in range(20):
        heard.ear.listen(["one", f"more-{number}"])
        await post.send("one", envelope(f"t{number}"))
    await wait_until(lambda: {each.announcement for each in heard.envelopes} == {f"t{number}" for number in range(20)})


async def test_a_topic_that_is_left_is_heard_no_more(heard: Heard, post: Post) -> None:
    heard.ear.listen(["one", "two"])
    await heard.ear.heard()
    heard.ear.listen(["two"])
    await heard.ear.heard()
    await post.send("one", envelope("t1"))
    await post.send("two", envelope("t2"))
    await wait_until(lambda: heard.envelopes)
    assert {each.announcement for each in heard.envelopes} == {"t2"}


async def test_a_handler_that_takes_its_time_or_fails_holds_up_nothing(heard: Heard, post: Post) -> None:
    heard.ear.listen(["one"])
    await heard.ear.heard()
    heard.hold.clear()
    await post.send("one", envelope("t1", sender="slow"))
    await post.send("one", envelope("t2", sender="broken"))
    await post.send("one", envelope("t3"))
    await wait_until(lambda: [each.announcement for each in heard.envelopes] == ["t3"])
    heard.hold.set()
    await wait_until(lambda: [each.announcement for each in heard.envelopes] == ["t3", "t1"])


async def test_hints_that_are_no_envelopes_are_overheard(heard: Heard, post: Post, backend: Backend) -> None:
    heard.ear.listen(["one"])
    await heard.ear.heard()
    await backend.events.publish("one", {"a": "t1", "s": "running"})
    await post.send("one", envelope())
    await wait_until(lambda: heard.envelopes and heard.hints)
    assert heard.hints[0].body == {"a": "t1", "s": "running"}


async def test_whoever_begins_to_listen_is_told_that_something_may_have_been_missed(heard: Heard) -> None:
    heard.ear.listen(["one"])
    await heard.ear.heard()
    assert heard.gaps == 1
