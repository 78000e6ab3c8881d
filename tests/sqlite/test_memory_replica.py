"""A replica's file knows whether it is still itself: then its writer may go on numbering, else it may not."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_replica
from meshd.clock import ManualClock
from meshd.errors import ConfigurationError, CorruptDataError, InvalidArgumentError, StoreUnreachableError
from meshd.memory.model import LOCAL
from meshd.memory.replication.local import ReplicaFile
from meshd.tasks.model import Durability
from tests.sqlite.test_memory import kill_after, start
from tests.support.memory import Writer, everything, get_one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "replica.db"


@asynccontextmanager
async def opened(path: Path, *, durability: Durability | None = None) -> AsyncGenerator[ReplicaFile]:
    file = await open_replica(path, BackendOptions(clock=ManualClock(), durability=durability))
    try:
        yield file
    finally:
        await file.aclose()


async def identity_of(path: Path) -> str:
    async with opened(path) as file:
        return file.identity


def set_fact(path: Path, name: str, value: str | None) -> None:
    """Change what a closed file notes of itself."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM memory_facts WHERE name = ?", (name,))
        if value is not None:
            connection.execute("INSERT INTO memory_facts (mesh, name, value) VALUES (1, ?, ?)", (name, value))


async def test_a_file_that_was_closed_is_the_same_when_it_is_opened_again(path: Path) -> None:
    first = await identity_of(path)
    assert first
    assert await identity_of(path) == first
    set_fact(path, "file:boot", "another start of the machine")
    assert await identity_of(path) == first


async def test_what_was_written_is_there_again(path: Path) -> None:
    ann = Writer("n1~x", ManualClock())
    async with opened(path) as file:
        version = ann.put("k")
        await ann.push(file.store, version)
        await file.note({"hub": "g1", "cursor": "17"})
    async with opened(path) as file:
        assert await get_one(file.store, "k") == (version,)
        assert await file.facts() == {"hub": "g1", "cursor": "17"}


async def test_another_file_has_another_identity(path: Path) -> None:
    assert await identity_of(path) != await identity_of(path.with_name("other.db"))


async def test_a_copy_is_another_file_and_the_first_stays_itself(path: Path) -> None:
    first = await identity_of(path)
    copy = path.with_name("copy.db")
    for suffix in ("", "-mark"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    assert await identity_of(copy) not in ("", first)
    assert await identity_of(path) == first


async def test_a_copied_folder_is_another_file(path: Path) -> None:
    first = await identity_of(path)
    shutil.copytree(path.parent, path.parent.with_name("copied"))
    assert await identity_of(path.parent.with_name("copied") / path.name) != first


async def test_an_older_state_put_back_into_the_same_file_is_another(path: Path) -> None:
    first = await identity_of(path)
    older = path.read_bytes()
    async with opened(path) as file:
        ann = Writer("n1~x", ManualClock())
        await ann.push(file.store, ann.put("k"))
    path.write_bytes(older)
    second = await identity_of(path)
    assert second != first
    assert await identity_of(path) == second


async def test_a_file_replaced_by_its_backup_is_another(path: Path) -> None:
    first = await identity_of(path)
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    async with opened(path) as file:
        await file.note({"written": "since"})
    path.unlink()
    shutil.copy(backup, path)
    assert await identity_of(path) != first


async def test_a_cloned_machine_has_another_file(path: Path) -> None:
    first = await identity_of(path)
    set_fact(path, "file:place", f"another machine:{path.stat().st_ino}")
    assert await identity_of(path) != first


async def test_without_its_mark_a_file_is_another(path: Path) -> None:
    first = await identity_of(path)
    path.with_name(f"{path.name}-mark").unlink()
    assert await identity_of(path) != first


async def test_a_killed_process_leaves_the_same_file(path: Path) -> None:
    first = await identity_of(path)
    answered = await kill_after(await start("replica", str(path), "n1~x"), answers=4)
    async with opened(path) as file:
        assert file.identity == first
        assert (await file.store.clock()).clock["n1~x"] >= answered


async def test_a_crash_of_the_machine_may_have_cost_commits_so_the_file_is_another(path: Path) -> None:
    first = await identity_of(path)
    await kill_after(await start("replica", str(path), "n1~x"), answers=1)
    set_fact(path, "file:boot", "the start before")
    second = await identity_of(path)
    assert second != first


async def test_a_file_that_syncs_each_commit_survives_a_crash_of_the_machine(path: Path) -> None:
    first = await identity_of(path)
    set_fact(path, "file:closed", None)
    set_fact(path, "file:boot", "the start before")
    async with opened(path, durability=Durability.D2) as file:
        assert file.identity == first


async def test_a_file_is_open_once(path: Path) -> None:
    async with opened(path) as file:
        with pytest.raises(ConfigurationError, match="open already"):
            await open_replica(path)
        ann = Writer("n1~x", ManualClock())
        await ann.push(file.store, ann.put("k"))
    await identity_of(path)


async def test_closing_twice_is_closing_once_and_then_it_is_unreachable(path: Path) -> None:
    file = await open_replica(path)
    await file.aclose()
    await file.aclose()
    with pytest.raises(StoreUnreachableError):
        await file.facts()


async def test_a_file_that_is_no_store_is_refused_and_may_be_replaced(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("these are my notes\n" * 200)
    for _ in range(2):
        with pytest.raises(CorruptDataError):
            await open_replica(path)
    path.unlink()
    assert await identity_of(path)


async def test_facts_are_added_changed_and_forgotten_together(path: Path) -> None:
    async with opened(path) as file:
        assert await file.facts() == {}
        await file.note({"a": "1", "b": "ä", "c": "3"})
        await file.note({"a": "2", "c": "", "d": ""})
        assert await file.facts() == {"a": "2", "b": "ä"}
        with pytest.raises(InvalidArgumentError):
            await file.note({"file:identity": "mine"})


async def test_an_actors_versions_are_read_in_the_order_of_their_numbers(path: Path) -> None:
    ann, bob = (Writer(name, ManualClock()) for name in ("n1~x", "n2~y"))
    async with opened(path) as file:
        await ann.push(file.store, *[ann.put(key) for key in "cab"], ann.put("a"))
        await bob.push(file.store, bob.put("c"))
        written = await file.written("n1~x", after=0)
        assert [(version.key, version.header.seq) for version in written] == [("c", 1), ("b", 3), ("a", 4)]
        assert [version.header.seq for version in await file.written("n1~x", after=1, limit=1)] == [3]
        assert list(await file.written("n1~x", after=4)) == []
        assert list(await file.written("nobody", after=0)) == []


async def test_tidying_keeps_what_the_hub_does_not_have(path: Path) -> None:
    ann, local = (Writer(name, ManualClock()) for name in ("n1~x", LOCAL))
    async with opened(path) as file:
        await ann.push(file.store, ann.delete("sent"), ann.delete("waiting"), ann.put("kept"))
        await file.store.absorb([local.delete("mine")])
        assert await file.tidy({"n1~x": 1}) == 2
        assert set(await everything(file.store)) == {"waiting", "kept"}
        assert await file.tidy({"n1~x": 3}) == 1
        assert set(await everything(file.store)) == {"kept"}


async def test_many_opened_at_once_are_many_files(tmp_path: Path) -> None:
    identities = await asyncio.gather(*(identity_of(tmp_path / f"{number}.db") for number in range(4)))
    assert len(set(identities)) == 4
