"""The mesh's own jobs: one node at a time does each, and another goes on when it dies."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd import Mesh, Node, Settings
from meshd.backends import Backend, BackendOptions, open_backend
from meshd.records import Guard
from meshd.runtime.roles import SCOPES, Roles, roles_played
from meshd.settings_roles import RolesSettings
from meshd.votes.leadership import Leaders
from meshd.votes.leading import PREFIX, Lease
from tests.redis_backend.raw import raw_commands
from tests.runtime.worker_process import fast_settings
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

START_S = 20.0
HOUR = 3_600.0
QUICK = RolesSettings(interval_seconds=0.01, idle_seconds=0.2, lease_seconds=1.0)
SLOW = RolesSettings(interval_seconds=0.01, idle_seconds=HOUR, lease_seconds=HOUR)


class Counting:
    """A role that counts its rounds, and writes how many under its guard."""

    is_elected = True
    topics = ("counting",)

    def __init__(self, backend: Backend, name: str = "counting", *, failures: int = 0) -> None:
        self.name = name
        self.rounds = 0
        self.plays = 0
        self._backend = backend
        self._failures = failures

    async def run_once(self, guard: Guard | None) -> float | None:
        self.rounds += 1
        if self.rounds <= self._failures:
            raise ValueError("not today")
        await self._backend.records.put(f"rounds/{self.name}", b"%d" % self.rounds, guard=guard)
        return None

    @contextmanager
    def playing(self) -> Generator[None]:
        self.plays += 1
        try:
            yield
        finally:
            self.plays -= 1

    def statistics(self) -> Mapping[str, int]:
        return {"rounds": self.rounds}


@pytest.fixture
async def backend(store_url: str, mesh_name: str) -> AsyncIterator[Backend]:
    backend = await open_backend(store_url, BackendOptions(mesh=mesh_name))
    yield backend
    await backend.aclose()


def roles_of(backend: Backend, holder: str, role: Counting, settings: RolesSettings = QUICK) -> Roles:
    return Roles(Leaders(backend.records, backend.events, holder=holder), backend.events, [role], settings)


async def player_of(mesh: Mesh | Backend, role: str) -> str:
    """Return who plays a role now, empty for nobody."""
    term = await Leaders(mesh.records, mesh.events, holder="test").current(SCOPES + role)
    return "" if term is None else term.holder


async def until_played(mesh: Mesh | Backend, role: str, *, by: str = "") -> str:
    """Wait until somebody, or one in particular, plays the role; return who."""

    async def is_played() -> bool:
        player = await player_of(mesh, role)
        return player == by if by else bool(player)

    await wait_until(is_played, timeout=START_S)
    return await player_of(mesh, role)


async def test_one_of_two_plays_and_the_other_when_it_ends(backend: Backend) -> None:
    """Nobody looks before an hour is over, so the other was told."""
    first, second = Counting(backend), Counting(backend)
    async with roles_played(roles_of(backend, "b", second, SLOW)):
        async with roles_played(roles_of(backend, "a", first, SLOW)):
            await wait_until(lambda: first.rounds + second.rounds)
            assert first.plays + second.plays == 1
        await wait_until(lambda: second.plays)
    assert first.plays + second.plays == 0
    assert await player_of(backend, "counting") == ""


async def test_a_hint_makes_a_round_due_at_once(backend: Backend) -> None:
    role = Counting(backend)
    async with roles_played(roles_of(backend, "a", role, SLOW)):
        await wait_until(lambda: role.rounds)

        async def is_heard() -> bool:
            await backend.events.publish("counting", {})
            return role.rounds > 3

        await wait_until(is_heard)


async def test_a_role_goes_on_after_rounds_that_failed(backend: Backend) -> None:
    role = Counting(backend, failures=2)
    async with roles_played(roles_of(backend, "a", role)):
        await wait_until(lambda: role.rounds > 4)
        assert role.plays == 1


async def test_a_role_taken_away_is_stood_for_again(backend: Backend) -> None:
    role = Counting(backend)
    leaders = Leaders(backend.records, backend.events, holder="test")
    async with roles_played(roles_of(backend, "a", role)):
        await wait_until(lambda: role.rounds)
        first = await leaders.current(SCOPES + "counting")
        await backend.records.delete(PREFIX + SCOPES + "counting")

        async def is_another_term() -> bool:
            term = await leaders.current(SCOPES + "counting")
            return first is not None and term is not None and term.token > first.token

        await wait_until(is_another_term)
        done = role.rounds
        await wait_until(lambda: role.rounds > done)


async def test_a_superseded_player_stops_although_it_was_told_nothing(backend: Backend) -> None:
    """Its next round is refused by the guard; it follows from then on."""
    role = Counting(backend)
    other = Leaders(backend.records, backend.events, holder="other")
    async with roles_played(roles_of(backend, "a", role)):
        await wait_until(lambda: role.rounds)
        scope = SCOPES + "counting"

        async def is_superseded() -> bool:
            await backend.records.delete(PREFIX + scope)
            await other.begin(scope, "nonce", Lease(length=timedelta(hours=1)))
            return True

        await wait_until(is_superseded)
        await wait_until(lambda: role.plays == 0)
        assert await player_of(backend, "counting") == "other"


async def test_what_a_player_did_is_logged_now_and_then(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    role = Counting(backend)
    settings = RolesSettings(interval_seconds=0.01, idle_seconds=0.05, statistics_seconds=0.05)
    with caplog.at_level(logging.INFO):
        async with roles_played(roles_of(backend, "a", role, settings)):
            await wait_until(lambda: caplog.text.count("role counting: rounds ") > 1)


async def test_whoever_waits_looks_once_in_its_interval_for_all_roles(
    redis_server: RedisServer, mesh_name: str
) -> None:
    backend = await open_backend(redis_server.url, BackendOptions(mesh=mesh_name))
    other = Leaders(backend.records, backend.events, holder="other")
    counting = [Counting(backend, f"r{number}") for number in range(3)]
    leases = [await other.begin(SCOPES + role.name, "nonce", Lease(length=timedelta(minutes=1))) for role in counting]
    assert len(leases) == 3
    roles = Roles(Leaders(backend.records, backend.events, holder="a"), backend.events, counting, QUICK)
    with raw_commands(redis_server.port) as raw:
        async with roles_played(roles):
            await asyncio.sleep(QUICK.idle_seconds)
            raw("CONFIG", "RESETSTAT")
            await asyncio.sleep(5 * QUICK.idle_seconds)
            calls = {name: stats["calls"] for name, stats in raw("INFO", "commandstats").items()}
    assert sum(role.rounds for role in counting) == 0
    assert 1 <= calls["cmdstat_evalsha"] <= 6
    for role in counting:
        await backend.records.delete(PREFIX + SCOPES + role.name)
    await backend.aclose()


async def test_a_role_survives_an_outage_of_the_store(tmp_path: Path, mesh_name: str) -> None:
    server = RedisServer(tmp_path)
    server.start(aof=True)
    backend = await open_backend(server.url, BackendOptions(mesh=mesh_name, timeout_ms=500))
    role = Counting(backend)
    try:
        async with roles_played(roles_of(backend, "a", role)):
            await wait_until(lambda: role.rounds)
            server.kill()
            await wait_until(lambda: not role.plays, timeout=START_S)
            server.start(aof=True)
            done = role.rounds
            await wait_until(lambda: role.plays and role.rounds > done, timeout=START_S)
    finally:
        await backend.aclose()
        server.stop()


async def test_a_node_plays_what_it_is_willing_to(mesh: Mesh, store_url: str, mesh_name: str) -> None:
    settings: dict[str, Any] = {"heartbeat_interval_seconds": 0.1, "node_timeout_seconds": 1.0}
    only = Settings.load(mesh=mesh_name, roles={"play": ["topology"]}, **settings)
    async with Node("n1").running(store_url, settings=only):
        assert await until_played(mesh, "topology") == "n1"
        assert await player_of(mesh, "consensus") == ""
        async with Node("n2").running(store_url, settings=Settings.load(mesh=mesh_name, **settings)):
            assert await until_played(mesh, "consensus") == "n2"
            assert await player_of(mesh, "topology") == "n1"
        assert await player_of(mesh, "consensus") == ""


@pytest.fixture
def start(store_url: str, mesh_name: str) -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    processes: list[subprocess.Popen[bytes]] = []

    def start_process(name: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.runtime.worker_process", store_url, mesh_name, name]
        processes.append(subprocess.Popen(command))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()
        process.wait()


async def test_when_the_player_is_killed_another_node_takes_over(
    store_url: str, mesh_name: str, start: Callable[[str], "subprocess.Popen[bytes]"]
) -> None:
    async with Mesh(store_url, settings=fast_settings(mesh_name)) as mesh:
        victim = start("victim")
        for role in ("consensus", "topology"):
            await until_played(mesh, role, by="victim")
        start("heir")
        await wait_until(lambda: _is_member(mesh, "heir"), timeout=START_S)
        victim.kill()
        for role in ("consensus", "topology"):
            await until_played(mesh, role, by="heir")


async def _is_member(mesh: Mesh, node_id: str) -> bool:
    return any(node.id == node_id for node in await mesh.nodes.list())
