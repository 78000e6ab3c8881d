"""The hub of the memory on a real Redis: what it leaves there, and what survives when Redis is hurt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.redis import scripts
from meshd.backends.redis.keys import COMMON, Keys
from meshd.clock import ManualClock
from meshd.errors import (
    BackpressureError,
    CorruptDataError,
    FencedError,
    InvalidArgumentError,
    StoreUnreachableError,
)
from meshd.memory.digests import digest_of
from meshd.memory.model import MAX_BATCH, Applied, Batch, Dot, Member, MemoryLimits, Refusal
from meshd.memory.sealing import pack_item
from tests.redis_backend.memory_versions import SEAL, batch, version
from tests.redis_backend.raw import Raw, raw_commands
from tests.support.proxy import proxied
from tests.support.redis_server import RedisServer

DAY_MS = 86_400_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be hurt."""
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


async def test_an_item_is_kept_as_its_bytes(backend: Backend, keys: Keys, raw: Raw) -> None:
    one, two = version("k", 1), version("k", 1, actor="n2~b")
    await backend.memory.push(batch(one))
    await backend.memory.push(batch(two))
    assert raw("GET", keys.item("k")) == pack_item((one, two))


async def test_history_and_members_end_by_themselves(backend: Backend, keys: Keys, raw: Raw) -> None:
    await backend.memory.push(batch(version("k", 1), version("k", 2)))
    await backend.memory.report(Member(node="n1", actor="n1~a", revision=2, seen_ms=0))
    await backend.memory.take_mastery("p/", holder="n1", ttl_ms=1_000)
    prefix = keys.clock(COMMON).removesuffix("clock")
    for kind in ("mh:k", "mmem", "mseen", "mstate"):
        assert 6 * DAY_MS < raw("PTTL", prefix + kind) < 8 * DAY_MS, kind
    assert 0 < raw("PTTL", prefix + "mlead:p/") < DAY_MS


async def test_a_collected_item_leaves_no_key_but_its_history(
    backend: Backend, clock: ManualClock, keys: Keys, raw: Raw
) -> None:
    await backend.memory.push(batch(version("k", 1), version("j", 2, expires_ms=clock() + 10)))
    await backend.memory.push(batch(version("k", 3, is_deleted=True)))
    clock.advance(ms=10)
    assert await backend.memory.sweep() == 2
    prefix = keys.clock(COMMON).removesuffix("clock")
    assert [
        kind for kind in ("m:k", "m:j", "mkeys", "mrev", "mexp", "mcf", "mgone") if raw("EXISTS", prefix + kind)
    ] == []
    assert [each.dot for each in (await backend.memory.history(["k"]))[0]] == [Dot("n1~a", 1)]
    assert not any((await backend.memory.digest()).buckets)


async def test_a_tombstone_waits_for_the_last_member_and_for_what_it_had_seen(
    backend: Backend, clock: ManualClock
) -> None:
    memory = backend.memory
    await memory.push(batch(version("k", 1, is_deleted=True, observed={"n2~b": 1})))
    await memory.report(Member(node="n1", actor="n1~a", revision=1, seen_ms=0))
    await memory.report(Member(node="n2", actor="n2~b", revision=0, seen_ms=0))
    assert await memory.sweep() == 0
    clock.advance(ms=BackendOptions().memory.evict_after_ms + 1)
    assert await memory.sweep() == 0
    assert await memory.members() == []
    await memory.push(batch(version("k", 1, actor="n2~b")))
    assert await memory.sweep() == 1
    assert (await memory.push(batch(version("k", 1, actor="n2~b")))).replies[0].applied is Applied.KNOWN
    assert await memory.get(["k"]) == [()]


async def test_history_is_as_long_and_as_old_as_allowed(redis_server: RedisServer, mesh_name: str) -> None:
    clock = ManualClock()
    limits = MemoryLimits(history=2, history_ttl_ms=1_000)
    backend = await open_backend(redis_server.url, BackendOptions(mesh=mesh_name, clock=clock, memory=limits))
    await backend.memory.push(batch(*(version("k", seq) for seq in range(1, 5))))
    clock.advance(ms=600)
    await backend.memory.push(batch(version("k", 5)))
    assert [each.dot.seq for each in (await backend.memory.history(["k"]))[0]] == [4, 3]
    clock.advance(ms=600)
    assert [each.dot.seq for each in (await backend.memory.history(["k"]))[0]] == [4]
    await backend.aclose()


async def test_an_emptied_server_is_another_generation(server: RedisServer) -> None:
    backend = await open_backend(server.url, BackendOptions(mesh="wiped"))
    before = await backend.memory.push(batch(version("k", 1)))
    lease = await backend.memory.lease_actor(owner="me", ttl_ms=60_000)
    with raw_commands(server.port) as run:
        run("FLUSHALL")
    after = await backend.memory.clock()
    assert after.generation != before.generation
    assert (after.revision, after.clock, after.items) == (0, {}, 0)
    assert (await backend.memory.push(batch(version("k", 2)))).gap
    refused = await backend.memory.push(batch(version("k", 1, actor=lease.actor), token=lease.token))
    assert refused.replies[0].refusal is Refusal.FENCED
    with pytest.raises(FencedError):
        await backend.memory.renew_actor(lease, ttl_ms=1_000)
    assert (await backend.memory.lease_actor(owner="me", ttl_ms=60_000)).actor != lease.actor
    await backend.aclose()


async def test_an_older_snapshot_is_another_generation_and_lends_no_actor_of_the_last(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "snapshot")
    server.start()
    backend = await open_backend(server.url, BackendOptions(mesh="older", timeout_ms=10_000))
    memory = backend.memory
    first = await memory.lease_actor(owner="me", ttl_ms=60_000)
    before = await memory.push(batch(version("k", 1, actor=first.actor), token=first.token))
    with raw_commands(server.port) as run:
        run("SAVE")
    await memory.push(batch(version("k", 2, actor=first.actor), token=first.token))
    await memory.lease_actor(owner="other", ttl_ms=60_000)
    server.kill()
    server.restart()
    after = await memory.clock()
    assert (after.revision, after.clock) == (1, {first.actor: 1})
    assert after.generation != before.generation
    again = await memory.push(batch(version("j", 2, actor=first.actor), token=first.token))
    assert again.replies[0].refusal is Refusal.FENCED
    assert (await memory.lease_actor(owner="me", ttl_ms=60_000)).actor not in after.clock
    await backend.aclose()
    server.stop()


async def test_a_server_that_forgot_the_scripts_is_taught_again(backend: Backend, raw: Raw) -> None:
    await backend.memory.push(batch(version("k", 1)))
    raw("SCRIPT FLUSH")
    assert (await backend.memory.push(batch(version("k", 2)))).seq == 2


async def test_a_full_server_refuses_writes_and_serves_reads_and_leases(server: RedisServer) -> None:
    backend = await open_backend(server.url, BackendOptions(mesh="full", timeout_ms=1_000))
    memory = backend.memory
    await memory.push(batch(version("k", 1)))
    with raw_commands(server.port) as run:
        run("CONFIG SET", "maxmemory", "100kb")
        with pytest.raises(BackpressureError):
            await memory.push(batch(version("k", 2)))
        with pytest.raises(BackpressureError):
            await memory.absorb([version("k", 1, actor="n2~b")])
        assert [each.dot.seq for each in (await memory.get(["k"]))[0]] == [1]
        assert await memory.report(Member(node="n1", actor="n1~a", revision=1, seen_ms=0)) is False
        await memory.digest()
        await memory.sweep()
        run("CONFIG SET", "maxmemory", "0")
    assert (await memory.push(batch(version("k", 2)))).seq == 2
    await backend.aclose()


async def test_a_push_whose_answer_was_lost_is_made_again_and_known(redis_server: RedisServer, mesh_name: str) -> None:
    sha = scripts.load("memory_push", flagged=True).sha
    async with proxied(redis_server.port) as proxy:
        backend = await open_backend(proxy.url, BackendOptions(mesh=mesh_name))
        await backend.memory.push(batch(version("j", 1)))
        proxy.lose_answer_once(sha)
        pushed = await backend.memory.push(batch(version("k", 2), conditions={"k": ()}))
        assert proxy.lost_answers == 1
        assert pushed.replies[0].applied is Applied.KNOWN
        assert (await backend.memory.clock()).revision == 2
        await backend.aclose()


async def test_a_large_change_is_told_without_its_versions(backend: Backend) -> None:
    async with backend.memory.follow() as feed:
        await backend.memory.push(batch(version("k", 1, body=b"1" * 70_000)), wanted=True)
        await backend.memory.push(batch(version("k", 2)))
        large, small = await feed.get(timeout_ms=1_000), await feed.get(timeout_ms=1_000)
    assert large is not None
    assert small is not None
    assert (large.after, large.revision, large.wanted, list(large.versions)) == (0, 1, True, [])
    assert (small.after, small.revision, small.wanted) == (1, 2, False)
    assert [each.dot.seq for each in small.versions] == [2]


async def test_a_feed_outlives_its_server_and_says_where_it_goes_on(server: RedisServer) -> None:
    backend = await open_backend(server.url, BackendOptions(mesh="fed", timeout_ms=10_000))
    memory = backend.memory
    async with memory.follow() as feed:
        await memory.push(batch(version("k", 1)))
        assert await feed.get(timeout_ms=5_000) is not None
        server.kill()
        with pytest.raises(StoreUnreachableError):
            await feed.get(timeout_ms=5_000)
        server.restart()
        await memory.push(batch(version("k", 2)))
        assert await feed.get(timeout_ms=1) is None
        await memory.push(batch(version("k", 3)))
        change = await feed.get(timeout_ms=5_000)
    assert change is not None
    assert (change.after, change.revision) == (2, 3)
    await backend.aclose()


async def test_what_is_no_item_is_corrupt(backend: Backend, keys: Keys, raw: Raw) -> None:
    await backend.memory.push(batch(version("k", 1)))
    raw("SETRANGE", keys.item("k"), 4, b"\xff\xff\xff\xff")
    with pytest.raises(CorruptDataError):
        await backend.memory.get(["k"])
    with pytest.raises(CorruptDataError):
        await backend.memory.push(batch(version("k", 2)))
    assert (await backend.memory.clock()).clock == {"n1~a": 1}


async def test_a_batch_has_its_limits(backend: Backend) -> None:
    many = [version("k", seq) for seq in range(1, MAX_BATCH + 2)]
    for wrong in (many, [version("k", 2), version("k", 1)]):
        with pytest.raises(InvalidArgumentError):
            await backend.memory.push(batch(*wrong))
    with pytest.raises(InvalidArgumentError):
        await backend.memory.push(Batch(actor="n1~a", first=1, last=1, versions=[version("k", 2)]))
    assert (await backend.memory.push(batch(*many[:-1]))).seq == MAX_BATCH


async def test_a_full_mesh_takes_deletions_and_nothing_that_grows(redis_server: RedisServer, mesh_name: str) -> None:
    size = len(pack_item((version("a", 1), version("b", 2))))
    limits = MemoryLimits(max_bytes=size)
    backend = await open_backend(redis_server.url, BackendOptions(mesh=mesh_name, memory=limits))
    memory = backend.memory
    await memory.push(batch(version("a", 1), version("b", 2)))
    refused = await memory.push(batch(version("a", 3, body=b"1" * 50), version("c", 4)))
    assert [reply.refusal for reply in refused.replies] == [Refusal.FULL, Refusal.FULL]
    assert (refused.seq, refused.revision) == (2, 2)
    deleted = await memory.push(batch(version("a", 3, is_deleted=True)))
    assert deleted.replies[0].applied is Applied.APPLIED
    await backend.aclose()


async def test_siblings_stand_in_the_order_of_their_bytes(backend: Backend, keys: Keys, raw: Raw) -> None:
    """Lua compares by the server's locale, in which `B` may come after `a`."""
    actors = ["b", "B", "a", "_", "ä", "ab", "a~"]
    for actor in actors:
        await backend.memory.push(batch(version("k", 1, actor=actor)))
    assert [each.dot.actor for each in (await backend.memory.get(["k"]))[0]] == sorted(actors)
    assert raw("GET", keys.item("k")) == pack_item(sorted((await backend.memory.get(["k"]))[0], key=lambda v: v.dot))


async def test_many_siblings_sum_up_exactly(backend: Backend, clock: ManualClock) -> None:
    siblings = [version("k", 1, actor=f"n{number}~a", expires_ms=clock() + 5) for number in range(300)]
    for at in range(0, len(siblings), MAX_BATCH):
        await backend.memory.absorb(siblings[at : at + MAX_BATCH])
    full = (await backend.memory.digest()).buckets
    assert full == digest_of(siblings, now_ms=clock())
    clock.advance(ms=5)
    assert not any((await backend.memory.digest()).buckets)


async def test_a_header_longer_than_this_codes_is_passed_on(backend: Backend) -> None:
    made = version("k", 1)
    end = 2 + int.from_bytes(made.blob[:2], "big")
    fields = len(made.header.__struct_fields__) + 1
    head = b"\xdc" + fields.to_bytes(2, "big") + made.blob[5:end] + b"\xa3new"
    blob = len(head).to_bytes(2, "big") + head + made.body
    newer = SEAL.open(blob + SEAL._sum(blob))  # pyright: ignore[reportPrivateUsage]
    await backend.memory.push(batch(newer))
    assert (await backend.memory.get(["k"]))[0][0].blob == newer.blob
