"""Two kinds of news: logs that are read from a cursor, and hints for whoever listens now."""

import asyncio

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import LogTrimmedError
from meshd.events import LOG_CAPACITY, START
from tests.conftest import OpenAgain

WAIT_MS = 5_000


async def test_what_is_appended_is_read_in_order_by_another_process(
    backend: Backend, open_again: OpenAgain, clock: ManualClock
) -> None:
    other = await open_again()
    cursors = [
        await backend.events.append("news", {"n": n, "text": "größe ✓", "deep": [{"a": None}]}) for n in range(5)
    ]
    events = await other.events.read("news")
    assert [event.body["n"] for event in events] == list(range(5))
    assert [event.cursor for event in events] == cursors
    assert dict(events[0].body) == {"n": 0, "text": "größe ✓", "deep": [{"a": None}]}
    assert {(event.log, event.at_ms) for event in events} == {("news", clock())}


async def test_an_empty_log_has_no_events_and_starts_at_the_start(backend: Backend) -> None:
    assert list(await backend.events.read("news")) == []
    assert await backend.events.latest("news") == START


async def test_reading_after_a_cursor_returns_only_what_follows(backend: Backend) -> None:
    cursors = [await backend.events.append("news", {"n": n}) for n in range(5)]
    assert [event.body["n"] for event in await backend.events.read("news", after=cursors[2])] == [3, 4]
    assert list(await backend.events.read("news", after=cursors[4])) == []


async def test_the_latest_cursor_is_that_of_the_newest_event(backend: Backend) -> None:
    await backend.events.append("news", {"n": 1})
    newest = await backend.events.append("news", {"n": 2})
    assert await backend.events.latest("news") == newest


async def test_a_read_returns_at_most_its_limit(backend: Backend) -> None:
    for n in range(5):
        await backend.events.append("news", {"n": n})
    assert [event.body["n"] for event in await backend.events.read("news", limit=2)] == [0, 1]


async def test_logs_are_separate(backend: Backend) -> None:
    await backend.events.append("one", {"n": 1})
    await backend.events.append("two", {"n": 2})
    assert [event.body["n"] for event in await backend.events.read("two")] == [2]


async def test_concurrent_appends_are_all_kept_under_different_cursors(backend: Backend, open_again: OpenAgain) -> None:
    backends = [backend, await open_again()]
    cursors = await asyncio.gather(*(backends[n % 2].events.append("news", {"n": n}) for n in range(60)))
    events = await backend.events.read("news", limit=100)
    assert len(set(cursors)) == 60
    assert sorted(event.body["n"] for event in events) == list(range(60))


async def test_the_cursor_of_another_time_still_resumes(backend: Backend, clock: ManualClock) -> None:
    cursor = await backend.events.append("news", {"n": 1})
    clock.advance(seconds=3_600)
    await backend.events.append("news", {"n": 2})
    assert [event.body["n"] for event in await backend.events.read("news", after=cursor)] == [2]


@pytest.mark.slow
async def test_a_reader_that_missed_trimmed_events_is_told(backend: Backend) -> None:
    first = await backend.events.append("news", {"n": 0})
    for start in range(1, LOG_CAPACITY + 1_000, 500):
        await asyncio.gather(*(backend.events.append("news", {"n": n}) for n in range(start, start + 500)))
    with pytest.raises(LogTrimmedError) as caught:
        await backend.events.read("news", after=first)
    oldest = await backend.events.read("news", after=caught.value.oldest, limit=1)
    assert oldest
    assert (await backend.events.read("news", after=START, limit=1))[0].cursor == caught.value.oldest


async def test_a_hint_reaches_a_subscriber_in_another_process(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    async with other.events.subscribe("doorbell") as subscription:
        await backend.events.publish("doorbell", {"who": "größe", "n": [1, 2]})
        hint = await subscription.get(timeout_ms=WAIT_MS)
    assert hint is not None
    assert (hint.topic, dict(hint.body)) == ("doorbell", {"who": "größe", "n": [1, 2]})


async def test_every_hint_after_the_block_is_entered_arrives_in_order(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    async with other.events.subscribe("doorbell") as subscription:
        for n in range(100):
            await backend.events.publish("doorbell", {"n": n})
        heard = [await subscription.get(timeout_ms=WAIT_MS) for _ in range(100)]
    assert [hint and hint.body["n"] for hint in heard] == list(range(100))


async def test_a_subscriber_hears_all_its_topics_and_no_other(backend: Backend) -> None:
    async with backend.events.subscribe("a", "b") as subscription:
        for topic in ("c", "a", "c", "b"):
            await backend.events.publish(topic, {})
        heard = [await subscription.get(timeout_ms=WAIT_MS) for _ in range(2)]
    assert [hint and hint.topic for hint in heard] == ["a", "b"]


async def test_every_subscriber_hears_a_hint_once(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    async with backend.events.subscribe("a") as one, other.events.subscribe("a") as two:
        await backend.events.publish("a", {"n": 1})
        await backend.events.publish("a", {"n": 2})
        for subscription in (one, two):
            heard = [await subscription.get(timeout_ms=WAIT_MS) for _ in range(2)]
            assert [hint and hint.body["n"] for hint in heard] == [1, 2]


async def test_a_silent_topic_ends_the_wait_with_nothing(backend: Backend) -> None:
    async with backend.events.subscribe("a") as subscription:
        assert await subscription.get(timeout_ms=30) is None


async def test_a_hint_without_a_subscriber_is_lost(backend: Backend) -> None:
    await backend.events.publish("a", {"n": 1})
    async with backend.events.subscribe("a") as subscription:
        await backend.events.publish("a", {"n": 2})
        hint = await subscription.get(timeout_ms=WAIT_MS)
    assert hint is not None
    assert hint.body["n"] == 2


async def test_an_append_is_hinted_under_the_name_of_its_log(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    async with other.events.subscribe("news") as subscription:
        await backend.events.append("news", {"n": 1})
        hint = await subscription.get(timeout_ms=WAIT_MS)
    assert hint is not None
    assert (hint.topic, hint.body["n"]) == ("news", 1)


async def test_a_subscription_that_waits_does_not_hinder_other_calls(backend: Backend) -> None:
    async with backend.events.subscribe("a") as subscription, asyncio.timeout(WAIT_MS / 1_000):
        waiting = asyncio.create_task(subscription.get(timeout_ms=60_000))
        for n in range(20):
            await backend.records.put(f"k{n}", b"1")
        await backend.events.publish("a", {"n": 1})
        hint = await waiting
    assert hint is not None
