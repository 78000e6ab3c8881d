"""A server that may throw tasks away is refused, and one that begins to later is told of."""

import logging
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.backends.redis import watch
from meshd.errors import ConfigurationError
from tests.support.redis_replicas import ask
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

QUICK = BackendOptions(mesh="evicted", timeout_ms=1_000)
UNSAFE = BackendOptions(mesh="evicted", timeout_ms=1_000, accept_eviction=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start()
    yield server
    server.stop()


def evict(server: RedisServer, policy: str) -> None:
    ask(server.port, "CONFIG", "SET", "maxmemory", "100mb")
    ask(server.port, "CONFIG", "SET", "maxmemory-policy", policy)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_evict_is_refused_with_the_fix(server: RedisServer, policy: str) -> None:
    evict(server, policy)
    with pytest.raises(ConfigurationError, match=f"noeviction, it is {policy}"):
        await open_backend(server.url, QUICK)


async def test_eviction_can_be_accepted_and_stays_an_alarm(server: RedisServer) -> None:
    evict(server, "allkeys-lru")
    backend = await open_backend(server.url, UNSAFE)
    assert [alarm for alarm in (await backend.health()).alarms if "noeviction" in alarm]
    await backend.aclose()


async def test_a_policy_without_a_limit_evicts_nothing_and_is_an_alarm(server: RedisServer) -> None:
    ask(server.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    backend = await open_backend(server.url, QUICK)
    assert [alarm for alarm in (await backend.health()).alarms if "once maxmemory is set" in alarm]
    await backend.aclose()


async def test_a_sound_server_gives_no_alarm(server: RedisServer) -> None:
    backend = await open_backend(server.url, QUICK)
    assert (await backend.health()).alarms == ()
    await backend.aclose()


async def test_a_server_that_begins_to_evict_is_told_of_by_whoever_uses_it(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watch.REFRESH_S < 60
    monkeypatch.setattr(watch, "REFRESH_S", 0.5)
    backend = await open_backend(server.url, QUICK)
    evict(server, "allkeys-lru")
    changed = monotonic()

    async def told() -> bool:
        await backend.tasks.counts()
        return "noeviction, it is allkeys-lru" in caplog.text

    with caplog.at_level(logging.WARNING):
        await wait_until(told)
    assert monotonic() - changed < 5
    await backend.aclose()
