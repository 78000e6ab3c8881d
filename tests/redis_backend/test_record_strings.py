"""How Redis keeps a record: one string, ended by Redis itself at last, and found by the index of ends until then."""

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.backends.redis.scripts import SLACK_MS
from meshd.clock import ManualClock
from meshd.records import Guard
from tests.redis_backend.raw import Raw

OLD_BORN_MS = 1_600_000_000_000


@pytest.fixture
def options(mesh_name: str, clock: ManualClock) -> BackendOptions:
    return BackendOptions(mesh=mesh_name, clock=clock)


async def test_what_an_older_version_wrote_is_read_and_becomes_a_string_when_written(
    backend: Backend, raw: Raw, mesh_name: str, clock: ManualClock
) -> None:
    mesh, end = f"mesh:{{{mesh_name}:c}}:", clock() + 1_000
    for key, expires in (("a", ""), ("b", end), ("c", end)):
        raw("HSET", f"{mesh}rec:{key}", "r", 9, "v", b"\x00old", "x", expires, "b", 7, "bm", OLD_BORN_MS)
        raw("ZADD", f"{mesh}recs", 0, key)
    raw("ZADD", f"{mesh}recx", end, "b", end, "c")
    raw("HSET", f"{mesh}clock", "revision", 9)
    found = await backend.records.list("")
    assert [(each.key, each.revision, each.born, each.born_ms, each.value, each.expires_ms) for each in found] == [
        (key, 9, 7, OLD_BORN_MS, b"\x00old", expires) for key, expires in (("a", None), ("b", end), ("c", end))
    ]
    assert await backend.records.get("b") == found[1]
    await backend.records.update("b", b"new", revision=9, ttl_ms=5_000, guard=Guard(key="a", born=7))
    assert raw("TYPE", f"{mesh}rec:b") == b"string"
    assert await backend.records.delete("a", revision=9) is True
    clock.advance(ms=1_001)
    await backend.records.put("d", b"")
    assert [(each.key, each.born) for each in await backend.records.list("")][:1] == [("b", 7)]
    assert raw("ZRANGE", f"{mesh}recs", 0, -1) == [b"b", b"d"]


async def test_a_record_is_one_string_that_redis_ends_by_itself(backend: Backend, raw: Raw, mesh_name: str) -> None:
    key = f"mesh:{{{mesh_name}:c}}:rec:k"
    revision = await backend.records.put("k", b"value", ttl_ms=1_000)
    assert raw("GET", key).endswith(b"value")
    assert 0 < raw("PTTL", key) <= 1_000 + SLACK_MS
    await backend.records.update("k", b"", revision=revision)
    assert raw("PTTL", key) == -1


async def test_a_write_removes_what_expired_and_keeps_what_was_renewed(
    backend: Backend, raw: Raw, mesh_name: str, clock: ManualClock
) -> None:
    mesh = f"mesh:{{{mesh_name}:c}}:"
    for key in ("ended", "renewed", "endless"):
        await backend.records.put(key, b"1", ttl_ms=1_000)
    await backend.records.put("renewed", b"2", ttl_ms=60_000)
    await backend.records.put("endless", b"2")
    clock.advance(ms=1_000)
    await backend.records.put("other", b"")
    assert raw("ZRANGE", f"{mesh}recs", 0, -1) == [b"endless", b"other", b"renewed"]
    assert raw("ZRANGE", f"{mesh}recx", 0, -1) == [b"renewed"]
    clock.advance(ms=59_000)
    await backend.records.put("other", b"")
    assert [record.key for record in await backend.records.list("")] == ["endless", "other"]
    assert raw("EXISTS", f"{mesh}recx", f"{mesh}rec:renewed") == 0


async def test_a_shorter_life_ends_when_it_says(backend: Backend, raw: Raw, mesh_name: str, clock: ManualClock) -> None:
    mesh = f"mesh:{{{mesh_name}:c}}:"
    await backend.records.put("long", b"1", ttl_ms=60_000)
    await backend.records.put("long", b"2", ttl_ms=1_000)
    await backend.records.put("endless", b"1")
    await backend.records.put("endless", b"2", ttl_ms=1_000)
    clock.advance(ms=1_000)
    await backend.records.put("other", b"")
    assert raw("ZRANGE", f"{mesh}recs", 0, -1) == [b"other"]


@pytest.mark.parametrize("ttl_ms", [0, -1, -2 * SLACK_MS])
async def test_a_life_that_is_over_at_once_is_written_and_gone(backend: Backend, ttl_ms: int) -> None:
    revision = await backend.records.put("k", b"1", ttl_ms=ttl_ms)
    assert await backend.records.get("k") is None
    assert await backend.records.create("k", b"2") > revision
