"""Leaders in processes of their own, killed, frozen and told to go."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.votes.leadership import Leaders
from meshd.votes.leading import Term
from tests.support.freezing import freeze
from tests.support.waiting import wait_until

LEASE_MS = 1_500
START_S = 20.0
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def backend(store_url: str, mesh_name: str) -> AsyncIterator[Backend]:
    backend = await open_backend(store_url, BackendOptions(mesh=mesh_name))
    yield backend
    await backend.aclose()


@pytest.fixture
def leaders(backend: Backend) -> Leaders:
    return Leaders(backend.records, backend.events, holder="test")


@pytest.fixture
def start(store_url: str, mesh_name: str) -> Iterator[Start]:
    processes: list[subprocess.Popen[bytes]] = []

    def start_process(name: str, lease_ms: int = LEASE_MS) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.votes.leader_process", store_url, mesh_name, name, str(lease_ms)]
        processes.append(subprocess.Popen(command))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()
        process.wait()


async def led_by(leaders: Leaders, name: str, *, within_s: float = START_S) -> Term:
    """Wait until `name` leads; return its term."""

    async def leads() -> bool:
        term = await leaders.current("work")
        return term is not None and term.holder == name

    await wait_until(leads, timeout=within_s)
    term = await leaders.current("work")
    assert term is not None
    return term


async def written(backend: Backend, key: str) -> bytes:
    """Wait until a record is there; return its value."""

    async def is_there() -> bool:
        return await backend.records.get(key) is not None

    await wait_until(is_there, timeout=START_S)
    record = await backend.records.get(key)
    assert record is not None
    return record.value


async def test_a_killed_leader_is_followed_within_its_lease(leaders: Leaders, start: Start) -> None:
    victim = start("victim")
    first = await led_by(leaders, "victim")
    start("heir")
    start("spare")
    victim.kill()

    async def is_followed() -> bool:
        term = await leaders.current("work")
        return term is not None and term.holder != "victim"

    await wait_until(is_followed, timeout=START_S)
    second = await leaders.current("work")
    assert second is not None
    assert second.token > first.token
    assert second.since_ms - first.since_ms > 0


async def test_a_frozen_leader_is_followed_and_its_late_write_refused(
    backend: Backend, leaders: Leaders, start: Start, store_url: str
) -> None:
    zombie = start("zombie")
    await led_by(leaders, "zombie")
    await written(backend, "effect/zombie")
    start("heir")
    freeze(zombie, store_url)
    heir = await led_by(leaders, "heir")
    last = await backend.records.get("effect/zombie")
    assert last is not None
    assert last.revision < heir.token
    zombie.send_signal(signal.SIGCONT)
    assert await written(backend, "late/zombie") == b"fenced"
    now = await backend.records.get("effect/zombie")
    assert now is not None
    assert (now.value, now.revision) == (last.value, last.revision)
    assert (await led_by(leaders, "heir")).token == heir.token


async def test_a_leader_told_to_go_hands_over_at_once(leaders: Leaders, start: Start) -> None:
    old = start("old", 60_000)
    await led_by(leaders, "old")
    new = start("new", 60_000)
    old.terminate()
    assert old.wait(START_S) == 0
    await led_by(leaders, "new")
    new.terminate()
    assert new.wait(START_S) == 0
    assert await leaders.current("work") is None
