"""A replica that lagged takes over: what was confirmed is there, and that the rest is lost is said."""

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.redis.generation import STORE_LOG
from meshd.errors import UnavailableError, UnconfirmedError
from meshd.tasks.model import Durability, NewTask
from tests.support.builders import a_claimer, a_task, claim_one, submit_one
from tests.support.redis_replicas import RedisReplicas, ask
from tests.support.waiting import wait_until

PLAIN = BackendOptions(mesh="over", timeout_ms=10_000)
AT_D3 = replace(PLAIN, durability=Durability.D3)
BULKY = json.dumps("x" * 200_000).encode()
"""More than what sockets hold for a replica that does not read, a hundred times."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RedisReplicas]:
    with RedisReplicas(tmp_path) as pair:
        yield pair


async def acknowledged(backend: Backend, tasks: list[NewTask]) -> list[str]:
    """Submit all at once; return those that were acknowledged."""
    answers = await asyncio.gather(*(backend.tasks.submit([task]) for task in tasks), return_exceptions=True)
    assert all(isinstance(answer, list | UnconfirmedError) for answer in answers), answers
    return [task.id for task, answer in zip(tasks, answers, strict=True) if isinstance(answer, list)]


async def lost_of(backend: Backend, task_ids: list[str]) -> int:
    return list(await backend.tasks.get(task_ids)).count(None)


def take_over(pair: RedisReplicas) -> None:
    """Kill the primary and have its replica answer in its place."""
    primary, replica = pair.servers
    primary.kill()
    replica.thaw()
    ask(replica.port, "REPLICAOF", "NO", "ONE")
    ask(replica.port, "CONFIG", "SET", "port", primary.port)


async def test_a_lagging_replica_that_takes_over_has_all_that_was_confirmed(
    pair: RedisReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    primary, replica = pair.servers
    plain = await open_backend(primary.url, PLAIN)
    confirmed = await open_backend(primary.url, AT_D3)
    safe = await acknowledged(confirmed, [a_task("safe") for _ in range(200)])
    assert len(safe) == 200
    replica.freeze()
    unsafe = await acknowledged(plain, [a_task("bulky", payload=BULKY) for _ in range(150)])
    seen = await claim_one(plain, a_claimer(types=["bulky"]))
    doubtful = [a_task("doubtful") for _ in range(20)]
    assert await acknowledged(confirmed, doubtful) == []
    await asyncio.to_thread(take_over, pair)

    with caplog.at_level(logging.WARNING):
        await wait_until(lambda: answers(plain))
    assert await lost_of(confirmed, safe) == 0
    assert await lost_of(plain, unsafe) > 0
    (rollback,) = [event.body for event in await plain.events.read(STORE_LOG) if event.body["partition"] == "p0"]
    assert rollback["seen"] == seen.token
    assert "went back" in caplog.text
    assert (await claim_one(plain, a_claimer(types=["bulky"]))).token > seen.token
    with pytest.raises(UnconfirmedError):
        await submit_one(confirmed, doubtful[0])
    await plain.aclose()
    await confirmed.aclose()


async def answers(backend: Backend) -> bool:
    try:
        await backend.tasks.counts()
    except UnavailableError:
        return False
    return True


async def test_a_promoted_replica_that_had_everything_is_no_rollback(pair: RedisReplicas) -> None:
    primary, replica = pair.servers
    backend = await open_backend(primary.url, AT_D3)
    (task_id,) = await acknowledged(backend, [a_task()])
    token = (await claim_one(backend)).token
    pair.wait_following(primary, count=1)
    await asyncio.to_thread(take_over, pair)
    await wait_until(lambda: answers(backend))
    (task,) = await backend.tasks.get([task_id])
    assert task is not None
    assert task.token == token
    assert list(await backend.events.read(STORE_LOG)) == []
    await backend.aclose()
    assert replica.is_running
