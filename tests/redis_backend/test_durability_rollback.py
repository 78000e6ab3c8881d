"""A store that lost what it had acknowledged is found out, by the first call of a client that knows better."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.redis.generation import STORE_LOG
from meshd.errors import LogTrimmedError, NotFoundError
from meshd.nodes.model import Membership
from meshd.tasks.model import Outcome
from meshd.tasks.store import TASKS_LOG
from tests.support.builders import a_claimer, a_profile, a_task, claim_one, completed, hold_of, submit_one, vitals
from tests.support.redis_replicas import ask
from tests.support.redis_server import RedisServer

OPTIONS = BackendOptions(mesh="back", timeout_ms=5_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


@pytest.fixture
async def opened(server: RedisServer) -> AsyncIterator[list[Backend]]:
    """Three clients of one store."""
    async with AsyncExitStack() as stack:
        backends = [await open_backend(server.url, OPTIONS) for _ in range(3)]
        for backend in backends:
            stack.push_async_callback(backend.aclose)
            await backend.tasks.counts()
        yield backends


async def rollbacks(backend: Backend, partition: str = "p0") -> list[Any]:
    events = [event.body for event in await backend.events.read(STORE_LOG)]
    return [body for body in events if body["event"] == "store_rollback" and body["partition"] == partition]


def file_of(server: RedisServer) -> Path:
    return next((server.directory / "appendonlydir").glob("*.incr.aof"))


def lose_what_comes_after(server: RedisServer, size: int) -> None:
    """Restart the server without what its file got since it had this size, as a power loss may."""
    server.kill()
    with file_of(server).open("rb+") as file:
        file.truncate(size)
    server.restart()


def flushed(server: RedisServer) -> int:
    """Return the size of the file once everything written is in it."""
    ask(server.port, "WAIT", 0, 1)
    return file_of(server).stat().st_size


async def test_an_emptied_store_is_found_out_by_the_first_call(
    server: RedisServer, opened: list[Backend], caplog: pytest.LogCaptureFixture
) -> None:
    await submit_one(opened[0], a_task())
    task = await claim_one(opened[0])
    ask(server.port, "FLUSHALL")
    with caplog.at_level(logging.WARNING):
        assert list(await opened[0].tasks.finish([completed(task)])) == [Outcome.MISSING]
    (rollback,) = await rollbacks(opened[0])
    assert rollback["seen"] == task.token
    assert "went back" in caplog.text
    assert len(caplog.records) == 1


async def test_an_emptied_store_that_a_stranger_used_first_is_found_out_all_the_same(
    server: RedisServer, opened: list[Backend]
) -> None:
    await submit_one(opened[0], a_task())
    lost = await claim_one(opened[0])
    ask(server.port, "FLUSHALL")
    stranger = await open_backend(server.url, OPTIONS)
    await submit_one(stranger, a_task())
    await claim_one(stranger)
    assert await rollbacks(stranger) == []
    await opened[0].tasks.counts()
    assert len(await rollbacks(stranger)) == 1
    await submit_one(stranger, a_task())
    assert (await claim_one(stranger)).token > lost.token
    await stranger.aclose()


async def test_all_clients_of_an_emptied_store_tell_of_it_once(server: RedisServer, opened: list[Backend]) -> None:
    ask(server.port, "FLUSHALL")
    await asyncio.gather(*(backend.tasks.counts() for backend in opened for _ in range(5)))
    assert len(await rollbacks(opened[0])) == 1


async def test_a_store_that_lost_its_last_writes_is_found_out_by_whoever_saw_them(
    server: RedisServer, opened: list[Backend]
) -> None:
    claimer, other, submitter = opened
    await submitter.tasks.submit([a_task() for _ in range(4)])
    kept = await claim_one(claimer)
    size = flushed(server)
    lost = await claim_one(claimer)
    lose_what_comes_after(server, size)
    await other.tasks.counts()
    again = await claim_one(other, a_claimer("n2"))
    assert again.token > lost.token
    assert await rollbacks(submitter) == []
    assert list(await claimer.tasks.finish([completed(kept)])) == [Outcome.OK]
    (rollback,) = await rollbacks(submitter)
    assert (rollback["token"], rollback["seen"]) == (kept.token, lost.token)


async def test_tokens_never_repeat_whatever_is_lost_and_whatever_the_clock_says(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await open_backend(server.url, BackendOptions(mesh="back", timeout_ms=5_000, clock=lambda: 1_000_000))
    tokens: list[int] = []
    for round_number in range(4):
        await backend.tasks.submit([a_task() for _ in range(10)])
        size = flushed(server)
        tokens += [(await claim_one(backend)).token for _ in range(5)]
        if round_number % 2:
            ask(server.port, "FLUSHALL")
        else:
            lose_what_comes_after(server, size)
        await backend.tasks.counts()
    await submit_one(backend, a_task())
    tokens.append((await claim_one(backend)).token)
    assert tokens == sorted(set(tokens))
    assert caplog.text.count("went back: partition p0") == 4
    await backend.aclose()


async def test_a_restart_that_lost_nothing_is_no_rollback(server: RedisServer, opened: list[Backend]) -> None:
    for _ in range(3):
        for backend in opened:
            await submit_one(backend, a_task())
            await claim_one(backend)
        flushed(server)
        server.restart()
    for backend in opened:
        await submit_one(backend, a_task())
    assert await rollbacks(opened[0]) == []


async def test_a_node_of_an_emptied_store_is_told_to_join_again(server: RedisServer, opened: list[Backend]) -> None:
    backend = opened[0]
    before: Membership = await backend.nodes.join(a_profile("n1"), vitals())
    ask(server.port, "FLUSHALL")
    with pytest.raises(NotFoundError):
        await backend.nodes.heartbeat(before, vitals())
    after = await backend.nodes.join(a_profile("n1"), vitals())
    assert after.incarnation > before.incarnation
    assert len(await rollbacks(backend, "c")) == 1


async def test_who_follows_a_log_of_an_emptied_store_is_told_that_events_are_missing(
    server: RedisServer, opened: list[Backend]
) -> None:
    follower, other, _ = opened
    await submit_one(other, a_task())
    await submit_one(other, a_task())
    cursor = await follower.events.latest(TASKS_LOG)
    assert list(await follower.events.read(TASKS_LOG, after=cursor)) == []
    ask(server.port, "FLUSHALL")
    await submit_one(other, a_task())
    with pytest.raises(LogTrimmedError) as trimmed:
        await follower.events.read(TASKS_LOG, after=cursor)
    assert len(await follower.events.read(TASKS_LOG, after=trimmed.value.oldest)) == 1


async def test_scripts_forgotten_with_everything_else_are_no_hindrance(
    server: RedisServer, opened: list[Backend]
) -> None:
    ask(server.port, "FLUSHALL")
    ask(server.port, "SCRIPT", "FLUSH")
    await submit_one(opened[0], a_task())
    task = await claim_one(opened[0])
    assert list(await opened[0].tasks.start([hold_of(task)])) == [Outcome.OK]
