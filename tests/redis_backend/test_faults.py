"""What the driver says, said in our words."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.errors import BackpressureError, ConfigurationError, StoreReadOnlyError, StoreUnreachableError
from meshd.tasks.model import Durability, Outcome
from tests.redis_backend.raw import Raw, raw_commands
from tests.support.builders import a_task, claim_all, completed, start_one, submit_one
from tests.support.redis_server import RedisServer, free_port

QUICK = BackendOptions(mesh="faults", timeout_ms=500)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be hurt."""
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


def admin(server: RedisServer) -> AbstractContextManager[Raw]:
    return raw_commands(server.port)


async def test_nobody_at_the_address_is_unreachable() -> None:
    with pytest.raises(StoreUnreachableError):
        await open_backend(f"redis://127.0.0.1:{free_port()}/0", QUICK)


async def test_a_wrong_password_is_a_matter_of_configuration(server: RedisServer) -> None:
    with admin(server) as run:
        run("CONFIG SET", "requirepass", "right")
    with pytest.raises(ConfigurationError) as caught:
        await open_backend(f"redis://:wrong@127.0.0.1:{server.port}/0", QUICK)
    assert "wrong@" not in str(caught.value)


async def test_a_killed_server_is_unreachable_and_afterwards_goes_on(server: RedisServer) -> None:
    backend = await open_backend(server.url, QUICK)
    new = a_task()
    await submit_one(backend, new)
    server.kill()
    with pytest.raises(StoreUnreachableError):
        await backend.tasks.counts()
    server.restart()
    assert (await submit_one(backend, new)).created is False
    assert len(await claim_all(backend)) == 1
    await backend.aclose()


async def test_calls_made_during_a_restart_succeed_within_the_timeout(server: RedisServer) -> None:
    backend = await open_backend(server.url, BackendOptions(mesh="faults", timeout_ms=10_000))
    server.kill()
    async with asyncio.TaskGroup() as group:
        submitting = group.create_task(submit_one(backend, a_task()))
        await asyncio.to_thread(server.restart)
    assert submitting.result().created
    await backend.aclose()


async def test_a_replica_refuses_writes_as_read_only(server: RedisServer) -> None:
    backend = await open_backend(server.url, QUICK)
    with admin(server) as run:
        run("CONFIG SET", "replica-serve-stale-data", "yes")
        run("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(StoreReadOnlyError):
        await submit_one(backend, a_task())
    await backend.aclose()


async def test_a_full_memory_refuses_new_work_and_lets_held_work_end(server: RedisServer) -> None:
    backend = await open_backend(server.url, QUICK)
    await submit_one(backend, a_task())
    task = await start_one(backend)
    with admin(server) as run:
        run("CONFIG SET", "maxmemory", "100kb")
        with pytest.raises(BackpressureError):
            await submit_one(backend, a_task())
        assert list(await backend.tasks.finish([completed(task)])) == [Outcome.OK]
        run("CONFIG SET", "maxmemory", "0")
    assert (await submit_one(backend, a_task())).created
    await backend.aclose()


async def test_an_append_only_file_is_durability_d1(server: RedisServer, redis_server: RedisServer) -> None:
    kept = await open_backend(server.url, QUICK)
    volatile = await open_backend(redis_server.url, QUICK)
    assert (await submit_one(kept, a_task())).durability is Durability.D1
    assert (await volatile.health()).durability is Durability.D0
    await kept.aclose()
    await volatile.aclose()


async def test_a_server_that_may_evict_tasks_is_warned_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with admin(server) as run:
        run("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING):
        backend = await open_backend(server.url, QUICK)
    await backend.aclose()
    assert "noeviction" in caplog.text


async def test_a_database_that_the_server_has_not_is_a_matter_of_configuration(server: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match="out of range"):
        await open_backend(server.url.removesuffix("/0") + "/99")
