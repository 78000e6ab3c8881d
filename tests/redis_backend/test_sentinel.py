"""A mesh that is found through sentinels goes on with whoever is the primary."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from meshd.backends import Backend, BackendOptions, open_backend, redact
from meshd.backends.redis.sentinel import SentinelUrl
from meshd.errors import ConfigurationError, StoreUnreachableError, UnavailableError
from meshd.ids import new_id
from meshd.tasks.model import Durability
from tests.support.builders import a_claimer, a_task, claim_one, submit_one
from tests.support.redis_replicas import HOST, RedisReplicas, RedisSentinels, ask
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until

OPTIONS = BackendOptions(mesh="watched", timeout_ms=15_000)
AT_D3 = replace(OPTIONS, durability=Durability.D3)


class Watched:
    """A primary, two replicas, three sentinels."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.group = stack.enter_context(RedisReplicas(directory, replicas=2))
        self.sentinels = stack.enter_context(RedisSentinels(directory, self.group.servers[0]))
        self.url = self.sentinels.url

    def fail_over(self) -> None:
        """Kill the primary; return once another takes writes and all that are left follow it."""
        old = next(server for server in self.group.servers if server.port == self.sentinels.primary_port())
        old.kill()
        self.sentinels.wait_failover(old, self.group.servers)
        new = next(server for server in self.group.servers if server.port == self.sentinels.primary_port())
        self.group.wait_following(new, count=len(self.group.servers) - 2)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """For tests that let the primary fail."""
    with ExitStack() as stack:
        yield Watched(tmp_path, stack)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """For tests that leave the primary where it is."""
    with ExitStack() as stack:
        yield Watched(tmp_path_factory.mktemp("steady"), stack)


class Load:
    """Submits one task after the other until told to stop; remembers what was acknowledged, and when."""

    def __init__(self, backend: Backend, *, durability: Durability | None = None) -> None:
        self._backend = backend
        self._durability = durability
        self._is_over = False
        self.acknowledged: list[str] = []
        self.refused: list[UnavailableError] = []
        self.last = 0.0

    async def run(self) -> None:
        while not self._is_over:
            new = a_task(task_id=new_id())
            try:
                await self._backend.tasks.submit([new], durability=self._durability)
            except UnavailableError as exc:
                self.refused.append(exc)
                await asyncio.sleep(0.01)
            else:
                self.acknowledged.append(new.id)
                self.last = monotonic()

    def end(self) -> None:
        self._is_over = True

    async def lost(self) -> int:
        found = [
            task
            for at in range(0, len(self.acknowledged), 200)
            for task in await self._backend.tasks.get(self.acknowledged[at : at + 200])
        ]
        return found.count(None)


@pytest.mark.slow
async def test_a_failover_under_load_loses_nothing_confirmed_and_holds_up_nobody_for_long(watched: Watched) -> None:
    confirmed, plain = await open_backend(watched.url, AT_D3), await open_backend(watched.url, OPTIONS)
    loads = [Load(confirmed), Load(confirmed), Load(plain)]
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load.run())
        await wait_until(lambda: min(len(load.acknowledged) for load in loads) > 50, 20)
        await asyncio.to_thread(watched.fail_over)
        complete = monotonic()
        before = [len(load.acknowledged) for load in loads]
        await wait_until(
            lambda: all(len(load.acknowledged) > count for load, count in zip(loads, before, strict=True)), 60
        )
        resumed = monotonic() - complete
        for load in loads:
            load.end()
    assert resumed < 60
    assert [await load.lost() for load in loads[:2]] == [0, 0]
    assert loads[2].refused == []
    await confirmed.aclose()
    await plain.aclose()


async def test_calls_that_wait_end_with_typed_errors_and_work_again_after_a_failover(watched: Watched) -> None:
    backend = await open_backend(watched.url, OPTIONS)
    await submit_one(backend, a_task())
    await claim_one(backend)
    async with backend.events.subscribe("topic") as hints:
        claimer = a_claimer("waiter")
        await backend.tasks.claim(claimer, limit=1, lease_ms=15_000)
        waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=30_000))
        listening = asyncio.create_task(hints.get(timeout_ms=30_000))
        await asyncio.to_thread(watched.fail_over)
        for call in (waiting, listening):
            with pytest.raises(UnavailableError):
                await call
        await submit_one(backend, a_task())
        assert (await claim_one(backend, claimer)).node_id == "waiter"

        async def heard() -> bool:
            try:
                await backend.events.publish("topic", {"n": 1})
                return await hints.get(timeout_ms=200) is not None
            except UnavailableError:
                return False

        await wait_until(heard, 10)
    await backend.aclose()


async def test_a_primary_that_was_replaced_while_it_stood_still_is_left(watched: Watched) -> None:
    backend = await open_backend(watched.url, replace(OPTIONS, timeout_ms=1_500))
    await submit_one(backend, a_task())
    old = watched.group.servers[0]
    old.freeze()
    try:
        await asyncio.to_thread(watched.sentinels.wait_failover, old, watched.group.servers)
        began = monotonic()

        async def accepted() -> bool:
            try:
                return (await submit_one(backend, a_task())).created
            except UnavailableError:
                return False

        await wait_until(accepted, 10)
        assert monotonic() - began < 4
    finally:
        old.thaw()
    await backend.aclose()


async def test_a_primary_that_goes_on_beside_its_successor_is_left(watched: Watched) -> None:
    backend = await open_backend(watched.url, OPTIONS)
    await submit_one(backend, a_task())
    old, successor, _ = watched.group.servers
    watched.group.wait_following(old, count=2)
    ask(successor.port, "REPLICAOF", "NO", "ONE")
    watched.sentinels.name(successor)
    began = monotonic()

    async def arrived() -> bool:
        new = a_task()
        await submit_one(backend, new)
        return bool(ask(successor.port, "EXISTS", f"mesh:{{watched:p0}}:t:{new.id}"))

    await wait_until(arrived, 10)
    assert monotonic() - began < 3
    await backend.aclose()


async def test_any_sentinel_will_do(steady: Watched) -> None:
    steady.sentinels.stop_one()
    dead = free_port()
    url = steady.url.replace("redis+sentinel://", f"redis+sentinel://{HOST}:{dead},")
    backend = await open_backend(url, OPTIONS)
    assert (await submit_one(backend, a_task())).created
    assert (await backend.health()).replicas == 2
    await backend.aclose()


async def test_a_service_nobody_knows_is_a_matter_of_configuration(steady: Watched) -> None:
    with pytest.raises(ConfigurationError, match="'other'"):
        await open_backend(steady.url.replace("/mesh/", "/other/"), OPTIONS)


async def test_sentinels_that_do_not_answer_are_unreachable() -> None:
    with pytest.raises(StoreUnreachableError):
        await open_backend(f"redis+sentinel://{HOST}:{free_port()}/mesh", replace(OPTIONS, timeout_ms=500))


async def test_the_login_of_the_url_is_the_servers(steady: Watched) -> None:
    for server in steady.group.servers:
        ask(server.port, "ACL", "SETUSER", "kept", "on", ">secret", "~*", "&*", "+@all")
    backend = await open_backend(steady.url.replace("://", "://kept:secret@"), OPTIONS)
    assert (await submit_one(backend, a_task())).created
    assert "secret" not in (await backend.health()).url
    await backend.aclose()


def test_a_url_says_where_to_ask_for_what_and_how() -> None:
    place = SentinelUrl.parse(
        "rediss+sentinel://me:pw@one:1,two,[::1]:3/my%20mesh/4?sentinel_username=s&sentinel_password=t&ssl_cert_reqs=none"
    )
    assert place.sentinels == [("one", 1), ("two", 26379), ("::1", 3)]
    assert place.service == "my mesh"
    assert place.login == {"username": "s", "password": "t", "tls": False}
    assert place.redis_url == "rediss://me:pw@primary/4?ssl_cert_reqs=none"


@pytest.mark.parametrize(
    "url", ["redis+sentinel://one:1", "redis+sentinel:///mesh", "redis+sentinel://one:x/mesh", "redis+sentinel://a/m/x"]
)
def test_a_url_that_says_less_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="host:26379"):
        SentinelUrl.parse(url)


def test_no_password_of_a_url_is_shown() -> None:
    shown = redact("redis+sentinel://u:one@h:1/mesh?sentinel_password=two&db=0")
    assert shown == "redis+sentinel://u:***@h:1/mesh?sentinel_password=***&db=0"
