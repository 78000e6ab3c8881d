"""A level is what the server really gives; what it cannot give is refused, and what is not confirmed is said."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.errors import ConfigurationError, StoreReadOnlyError, UnconfirmedError
from meshd.tasks.model import Durability, Outcome, TaskState
from tests.support.builders import a_task, completed, get_one, start_one, submit_one
from tests.support.redis_replicas import RedisReplicas, ask
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

QUICK = BackendOptions(mesh="durable", timeout_ms=1_000)
AT_D3 = BackendOptions(mesh="durable", timeout_ms=4_000, durability=Durability.D3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RedisReplicas]:
    with RedisReplicas(tmp_path) as pair:
        yield pair


@pytest.mark.parametrize(
    ("fsync", "level"), [("always", Durability.D2), ("everysec", Durability.D1), ("no", Durability.D0)]
)
async def test_the_level_is_when_the_file_reaches_the_disk(server: RedisServer, fsync: str, level: Durability) -> None:
    ask(server.port, "CONFIG", "SET", "appendfsync", fsync)
    backend = await open_backend(server.url, QUICK)
    assert (await submit_one(backend, a_task())).durability is level
    assert (await backend.health()).durability is level
    await backend.aclose()


async def test_a_server_that_does_not_tell_is_taken_for_everysec_and_that_is_said(server: RedisServer) -> None:
    ask(server.port, "CONFIG", "SET", "appendfsync", "always")
    ask(server.port, "ACL", "SETUSER", "kept", "on", ">secret", "~*", "&*", "+@all", "-config")
    url = server.url.replace("redis://", "redis://kept:secret@")
    backend = await open_backend(url, QUICK)
    health = await backend.health()
    assert health.durability is Durability.D1
    assert [alarm for alarm in health.alarms if "CONFIG GET" in alarm]
    await backend.aclose()


async def test_a_changed_setting_is_learned_again(server: RedisServer) -> None:
    backend = await open_backend(server.url, QUICK)
    ask(server.port, "CONFIG", "SET", "appendonly", "no")
    assert (await backend.health()).durability is Durability.D0
    assert (await submit_one(backend, a_task())).durability is Durability.D0
    await backend.aclose()


@pytest.mark.parametrize("level", [Durability.D1, Durability.D2, Durability.D3])
async def test_a_store_that_cannot_give_the_level_is_refused_with_the_fix(
    redis_server: RedisServer, level: Durability
) -> None:
    with pytest.raises(ConfigurationError, match="appendonly yes"):
        await open_backend(redis_server.url, BackendOptions(mesh="durable", durability=level))


async def test_d3_without_enough_replicas_is_refused_at_open_and_at_submit(server: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match="connect more"):
        await open_backend(server.url, AT_D3)
    backend = await open_backend(server.url, QUICK)
    new = a_task()
    with pytest.raises(ConfigurationError, match="D3"):
        await backend.tasks.submit([new], durability=Durability.D3)
    assert list(await backend.tasks.get([new.id])) == [None]
    await backend.aclose()


async def test_a_level_above_the_stores_is_refused_per_call_and_one_below_gets_the_true_one(
    server: RedisServer,
) -> None:
    backend = await open_backend(server.url, QUICK)
    with pytest.raises(ConfigurationError, match="appendfsync always"):
        await backend.tasks.submit([a_task()], durability=Durability.D2)
    (receipt,) = await backend.tasks.submit([a_task()], durability=Durability.D0)
    assert receipt.durability is Durability.D1
    await backend.aclose()


async def test_a_replica_confirms_one_submit_at_d3(pair: RedisReplicas) -> None:
    backend = await open_backend(pair.servers[0].url, QUICK)
    assert (await backend.health()).replicas == 1
    new = a_task()
    (receipt,) = await backend.tasks.submit([new], durability=Durability.D3)
    assert receipt.durability is Durability.D3
    assert ask(pair.servers[1].port, "EXISTS", f"mesh:{{durable:p0}}:t:{new.id}") == 1
    assert (await submit_one(backend, a_task())).durability is Durability.D1
    await backend.aclose()


async def test_a_silent_replica_leaves_a_submit_unconfirmed_and_the_same_again_is_no_second_task(
    pair: RedisReplicas,
) -> None:
    backend = await open_backend(pair.servers[0].url, AT_D3)
    new = a_task()
    pair.servers[1].freeze()
    with pytest.raises(UnconfirmedError, match="0 of 1"):
        await submit_one(backend, new)
    pair.servers[1].thaw()
    receipt = await submit_one(backend, new)
    assert (receipt.created, receipt.durability) == (False, Durability.D3)
    assert (await backend.tasks.counts())[TaskState.READY] == 1
    await backend.aclose()


async def test_at_d3_an_end_is_acknowledged_only_when_confirmed(pair: RedisReplicas) -> None:
    backend = await open_backend(pair.servers[0].url, AT_D3)
    new = a_task()
    await submit_one(backend, new)
    task = await start_one(backend)
    pair.servers[1].freeze()
    with pytest.raises(UnconfirmedError):
        await backend.tasks.finish([completed(task)])
    pair.servers[1].thaw()
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.ALREADY_DONE]
    assert (await get_one(backend, new.id)).state is TaskState.COMPLETED
    await backend.aclose()


async def test_a_call_that_waits_for_replicas_holds_up_nobody_else(pair: RedisReplicas) -> None:
    backend = await open_backend(pair.servers[0].url, AT_D3)
    pair.servers[1].freeze()
    unconfirmed = asyncio.create_task(submit_one(backend, a_task()))
    await wait_until(lambda: ask(pair.servers[0].port, "INFO", "clients")["blocked_clients"] == 1)
    assert await backend.tasks.counts()
    assert not unconfirmed.done()
    with pytest.raises(UnconfirmedError):
        await unconfirmed
    pair.servers[1].thaw()
    await backend.aclose()


async def test_many_submits_share_the_wait(pair: RedisReplicas) -> None:
    backend = await open_backend(pair.servers[0].url, AT_D3)
    await submit_one(backend, a_task())
    ask(pair.servers[0].port, "CONFIG", "RESETSTAT")
    receipts = await asyncio.gather(*(submit_one(backend, a_task()) for _ in range(200)))
    assert {receipt.durability for receipt in receipts} == {Durability.D3}
    stats = ask(pair.servers[0].port, "INFO", "commandstats")
    assert stats["cmdstat_wait"]["calls"] <= 20
    await backend.aclose()


async def test_a_replica_as_target_is_read_only_and_the_message_names_its_primary(pair: RedisReplicas) -> None:
    with pytest.raises(StoreReadOnlyError, match=str(pair.servers[0].port)):
        await open_backend(pair.servers[1].url, QUICK)


async def test_a_replica_that_went_away_is_an_alarm(pair: RedisReplicas, caplog: pytest.LogCaptureFixture) -> None:
    backend = await open_backend(pair.servers[0].url, AT_D3)
    pair.servers[1].stop()
    with caplog.at_level(logging.WARNING):
        health = await backend.health()
    assert health.replicas == 0
    assert health.durability is Durability.D1
    assert [alarm for alarm in health.alarms if "connect more" in alarm]
    assert "connect more" in caplog.text
    await backend.aclose()
