"""What is particular to records on Redis: those an older version wrote, and a store that lost its newest writes."""

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.errors import FencedError
from meshd.records import Guard
from tests.redis_backend.raw import Raw


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name)


async def test_a_record_of_an_older_version_was_born_with_its_revision(
    backend: Backend, raw: Raw, mesh_name: str
) -> None:
    mesh = f"mesh:{{{mesh_name}:c}}:"
    raw("HSET", f"{mesh}rec:leader", "r", "7", "v", "old", "x", "")
    raw("ZADD", f"{mesh}recs", 0, "leader")
    raw("HSET", f"{mesh}clock", "revision", "7")
    record = await backend.records.get("leader")
    assert record is not None
    assert (record.revision, record.born, record.value) == (7, 7, b"old")
    assert [(each.key, each.born) for each in await backend.records.list("")] == [("leader", 7)]
    revision = await backend.records.update("leader", b"new", revision=7, guard=Guard(key="leader", born=7))
    record = await backend.records.get("leader")
    assert record is not None
    assert (record.revision, record.born, record.born_ms) == (revision, 7, 0)


async def test_a_store_that_lost_its_newest_writes_gives_no_life_twice(
    backend: Backend, raw: Raw, mesh_name: str
) -> None:
    mesh = f"mesh:{{{mesh_name}:c}}:"
    before = {name: raw("HGET", f"{mesh}clock", name) for name in ("revision", "now")}
    lost = Guard(key="leader", born=await backend.records.create("leader", b"lost"))
    raw("DEL", f"{mesh}rec:leader", f"{mesh}recs", f"{mesh}recx")
    for name, value in before.items():
        raw("HDEL", f"{mesh}clock", name) if value is None else raw("HSET", f"{mesh}clock", name, value)
    assert await backend.records.create("leader", b"successor") > lost.born
    with pytest.raises(FencedError):
        await backend.records.put("k", b"1", guard=lost)
