"""The memory in a file: shared by processes, survived by kills, checked when read, and there after an upgrade."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import closing
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.sqlite import memory_reading
from meshd.backends.sqlite.schema import APPLICATION_ID
from meshd.clock import ManualClock
from meshd.errors import CorruptDataError, FencedError
from meshd.memory.digests import digest_of
from meshd.memory.model import Refusal, Version
from meshd.memory.store import MemoryStore
from tests.support.memory import SEAL, Writer, all_newer, catch_up, everything, get_one, refusals

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


async def open_at(path: Path) -> Backend:
    return await open_backend(f"sqlite:///{path}", BackendOptions(clock=ManualClock()))


async def start(job: str, store: str, actor: str) -> Process:
    arguments = ("-m", "tests.sqlite.memory_process", job, store, actor)
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, cwd=ROOT)


async def kill_after(process: Process, *, answers: int) -> int:
    """Kill a writer once it said so many numbers; return the last one it was answered for."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(answers):
            await process.stdout.readline()
        process.kill()
        rest = (await process.communicate())[0].decode().split("\n")[:-1]
    return int(rest[-1]) if rest else 3 * answers


async def check_whole(store: MemoryStore) -> list[Version]:
    """Check that everything a store says of itself agrees; return its versions."""
    versions = [version for _, item in await store.list("", limit=10_000) for version in item]
    standing = await store.clock()
    kept = await everything(store)
    assert (standing.items, standing.value_bytes) == (len(kept), sum(map(len, kept.values())))
    assert len({version.dot for version in versions}) == len(versions)
    assert all(version.header.seq <= standing.clock[version.header.actor] for version in versions)
    digest = await store.digest()
    assert digest.buckets == digest_of(versions, now_ms=digest.now_ms)
    assert {version.dot for version in (await catch_up(store, after=0))[0]} == {version.dot for version in versions}
    assert {version.dot for version in await all_newer(store, {})} == {version.dot for version in versions}
    for version in versions:
        assert SEAL.open(version.blob) == version
    return versions


async def test_killed_processes_leave_what_they_were_answered_for_and_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "mesh.db"
    async with asyncio.timeout(2 * PATIENCE_S):
        for round_number in range(3):
            writers = [await start("hub", f"sqlite:///{path}", actor) for actor in ("ann", "bob")]
            answered = await asyncio.gather(*(kill_after(writer, answers=5 + round_number) for writer in writers))
            backend = await open_at(path)
            clock = (await backend.memory.clock()).clock
            assert clock["ann"] >= answered[0]
            assert clock["bob"] >= answered[1]
            assert clock["ann"] % 3 == clock["bob"] % 3 == 0
            await check_whole(backend.memory)
            await backend.aclose()


async def test_a_damaged_item_is_corrupt_data_and_the_others_are_read(tmp_path: Path) -> None:
    backend = await open_at(tmp_path / "mesh.db")
    ann = Writer("ann", ManualClock())
    await ann.push(backend.memory, ann.put("k"), ann.put("sound"))
    with closing(sqlite3.connect(tmp_path / "mesh.db")) as connection, connection:
        connection.execute("UPDATE memory_items SET data = substr(data, 1, 40) WHERE key = 'k'")
    with pytest.raises(CorruptDataError):
        await backend.memory.get(["k"])
    with pytest.raises(CorruptDataError):
        await backend.memory.push(ann.batch(ann.put("k")))
    assert len(await get_one(backend.memory, "sound")) == 1
    await backend.aclose()


@pytest.mark.parametrize("version", [1, 2])
async def test_a_file_of_an_older_version_gets_a_memory(tmp_path: Path, version: int) -> None:
    path = tmp_path / "mesh.db"
    script = (Path(__file__).parent / "stores" / f"version_{version}.sql").read_text()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    backend = await open_at(path)
    ann = Writer("ann", ManualClock())
    await ann.push(backend.memory, ann.put("k"))
    assert len(await check_whole(backend.memory)) == 1
    await backend.aclose()


@pytest.mark.parametrize("missing", [3, 600, 3_000])
async def test_what_a_clock_lacks_is_the_same_however_it_is_looked_for(tmp_path: Path, missing: int) -> None:
    """Small pages of much are looked for among all items, the rest among the dots."""
    backend = await open_at(tmp_path / "mesh.db")
    ann = Writer("ann", ManualClock())
    for page in range(30):
        await ann.push(backend.memory, *[ann.put(f"{number:03}/{page}") for number in range(100)])
    known = {"ann": 3_000 - missing}
    found = [await all_newer(backend.memory, known, limit=limit) for limit in (7, 1_000)]
    assert found[0] == found[1]
    assert len(found[0]) == missing
    await backend.aclose()


async def test_an_actor_whose_numbers_this_file_has_lost_is_not_lent_again(tmp_path: Path) -> None:
    backend = await open_at(tmp_path / "mesh.db")
    lease = await backend.memory.lease_actor(owner="c1", ttl_ms=1_000)
    await backend.memory.absorb([], clock={lease.actor: 9})
    with pytest.raises(FencedError):
        await backend.memory.renew_actor(lease, ttl_ms=1_000)
    late = Writer(lease.actor, ManualClock(), seq=9, token=lease.token)
    assert refusals((await backend.memory.push(late.batch(late.put("k")))).replies) == [Refusal.FENCED]
    assert (await backend.memory.lease_actor(owner="c1", ttl_ms=1_000)).actor != lease.actor
    await backend.aclose()


async def test_pages_end_early_when_items_are_large(tmp_path: Path) -> None:
    backend = await open_at(tmp_path / "mesh.db")
    ann = Writer("ann", ManualClock())
    for number in range(12):
        await ann.push(backend.memory, ann.put(f"k{number:02}", "x" * 1_000_000))
    change = await backend.memory.changes(after=0)
    assert change.more
    assert sum(len(version.blob) for version in change.versions) <= memory_reading.PAGE_BYTES
    assert len((await catch_up(backend.memory, after=0))[0]) == 12
    assert len(await all_newer(backend.memory, {})) == 12
    await backend.aclose()


async def test_many_followers_and_writers_leave_no_hints_nobody_wants(tmp_path: Path) -> None:
    backend = await open_at(tmp_path / "mesh.db")
    ann = Writer("ann", ManualClock())
    await ann.push(backend.memory, ann.put("unheard"))
    async with backend.memory.follow():
        await ann.push(backend.memory, ann.put("heard"))
    await ann.push(backend.memory, ann.put("unheard"))
    with closing(sqlite3.connect(tmp_path / "mesh.db")) as connection:
        assert connection.execute("SELECT count(*) FROM hints").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM subscribers").fetchone() == (0,)
    await backend.aclose()
