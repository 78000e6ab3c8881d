"""The memory scripts as typed functions: words become values or errors here and nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any

from meshd.backends.redis.keys import COMMON
from meshd.backends.redis.link import Link
from meshd.backends.redis.memory_codec import (
    framed,
    items_of,
    members_of,
    packed_clock,
    packed_conditions,
    packed_dots,
    packed_member,
    replies_of,
    shared,
    store_clock,
    versions_of,
)
from meshd.errors import FencedError
from meshd.memory.digests import BUCKETS
from meshd.memory.model import (
    ActorLease,
    Batch,
    Change,
    Digest,
    Dot,
    Item,
    Mastery,
    Member,
    NodeClock,
    Pushed,
    Reply,
    StoreClock,
    Version,
)
from meshd.memory.sealing import read, read_item

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""Most bytes of items one script reads, but for the last few of them."""
_DIGEST_BYTES = 8 * BUCKETS


async def _run(store: Link, name: str, *args: str | bytes | int, retry: bool = True) -> Any:
    return await store.run(name, key=store.keys.clock(COMMON), args=args, retry=retry)


async def push(store: Link, *, batch: Batch, wanted: bool, limits: bytes) -> Pushed:
    prefix, epoch = batch.master or ("", 0)
    word, generation, revision, seq, *told = await _run(
        store, "memory_push", batch.actor, batch.first, batch.last, batch.token, prefix, epoch,
        "1" if wanted else "", limits, packed_conditions(batch), *framed(batch.versions),
    )  # fmt: skip
    is_gap = word == b"gap"
    return Pushed(
        generation=generation.decode(),
        revision=int(revision),
        seq=int(seq),
        replies=() if is_gap else replies_of(batch.versions, told),
        gap=is_gap,
    )


async def absorb(
    store: Link, *, versions: Sequence[Version], clock: NodeClock | None, generation: str | None, limits: bytes
) -> list[Reply]:
    told = await _run(store, "memory_absorb", limits, packed_clock(clock), generation or "", *framed(versions))
    return replies_of(versions, told)


async def get(store: Link, *, keys: Sequence[str]) -> list[Item]:
    return [read_item(item) if item else () for item in await _run(store, "memory_get", *keys)]


async def list_page(
    store: Link, *, index: str, prefix: str, limit: int, after: str
) -> tuple[list[tuple[str, Item]], int, str]:
    """Return a page, the store's time, and the key to go on after; empty: that was all."""
    end = b"(" + prefix.encode() + b"\xff" if prefix else b"+"
    reply = await _run(store, "memory_list", index, _begin(prefix, after), end, limit, MAX_REPLY_BYTES)
    return items_of(reply[2:]), int(reply[0]), reply[1].decode()


async def newer_page(store: Link, *, clock: bytes, limit: int, after: str) -> tuple[list[Version], str]:
    """Return versions of a page of keys, and the key to go on after; empty: that was all."""
    reply = await _run(store, "memory_newer", clock, _begin("", after), limit, MAX_REPLY_BYTES)
    return shared([read(blob) for blob in reply[1:]]), reply[0].decode()


async def changes(store: Link, *, after: int, limit: int) -> Change:
    generation, revision, word, *items = await _run(store, "memory_changes", after, limit, MAX_REPLY_BYTES)
    return Change(
        generation=generation.decode(),
        after=after,
        revision=int(revision),
        versions=versions_of(items),
        more=word == b"more",
    )


async def clock(store: Link) -> StoreClock:
    return store_clock(await _run(store, "memory_clock"))


async def digest(store: Link) -> Digest:
    reply = await _expired(store, "")
    return Digest(buckets=reply[2].ljust(_DIGEST_BYTES, b"\0"), now_ms=int(reply[1]))


async def mark(store: Link) -> str:
    reply = await _expired(store, _DIGEST_BYTES)
    return str(reply[2].decode())


async def _expired(store: Link, size: int | str) -> Any:
    """Return the answer about the digest once all expiry is applied."""
    while True:
        reply = await _run(store, "memory_digest", size)
        if reply[0] == b"ok":
            return reply


async def histories(store: Link, *, keys: Sequence[str], limit: int, life_ms: int) -> list[list[Version]]:
    """Return the histories of the first of these keys: of so many as one answer takes."""
    reply = await _run(store, "memory_history", limit, life_ms, MAX_REPLY_BYTES, *keys)
    return [[read(blob) for blob in kept] for kept in reply]


async def sweep(store: Link, *, life_ms: int) -> int:
    collected, looked = 0, -1
    while True:
        word, count, revision = await _run(store, "memory_sweep", life_ms, looked)
        collected, looked = collected + int(count), int(revision)
        if word == b"done":
            return collected


async def drop(store: Link, *, keys: Sequence[tuple[str, tuple[Dot, ...]]]) -> int:
    return int(await _run(store, "memory_drop", packed_dots(keys)))


async def report(store: Link, *, member: Member, life_ms: int) -> tuple[bool, StoreClock]:
    """Return whether the replica was known, and where the store stands.

    Not repeated by itself: the second answer would hide that it was not.
    """
    word, *clock = await _run(
        store, "memory_report", member.node, member.actor, member.revision, packed_member(member), life_ms, retry=False
    )
    return bool(word == b"known"), store_clock(clock)


async def members(store: Link, *, life_ms: int) -> list[Member]:
    return members_of(await _run(store, "memory_members", life_ms))


async def lend(store: Link, *, ttl_ms: int) -> ActorLease:
    """Lend an actor. Not repeated by itself: a second answer would be another actor."""
    actor, seq, token, ends = await _run(store, "memory_lend", ttl_ms, retry=False)
    store.saw(store.keys.clock(COMMON), int(token))
    return ActorLease(actor=actor.decode(), seq=int(seq), token=int(token), until_ms=int(ends))


async def renew(store: Link, *, lease: ActorLease, ttl_ms: int) -> ActorLease:
    reply = await _run(store, "memory_renew", lease.actor, lease.token, ttl_ms)
    if reply[0] == b"fenced":
        raise FencedError(f"lease of actor {lease.actor}", token=lease.token, current=int(reply[1]))
    return ActorLease(actor=lease.actor, seq=int(reply[1]), token=lease.token, until_ms=int(reply[2]))


async def give_back(store: Link, *, lease: ActorLease) -> None:
    await _run(store, "memory_renew", lease.actor, lease.token, "")


async def lead(store: Link, *, prefix: str, holder: str, ttl_ms: int) -> Mastery:
    master, epoch, ends = await _run(store, "memory_lead", prefix, holder, ttl_ms)
    store.saw(store.keys.clock(COMMON), int(epoch))
    return Mastery(prefix=prefix, holder=master.decode(), epoch=int(epoch), until_ms=int(ends))


async def resign(store: Link, *, mastery: Mastery) -> None:
    await _run(store, "memory_resign", mastery.prefix, mastery.epoch)


async def quarantine(store: Link, *, node: str, reason: str) -> None:
    await _run(store, "memory_quarantine", node, "refuse", reason)


async def readmit(store: Link, *, node: str) -> bool:
    return bool(await _run(store, "memory_quarantine", node, "take", "") == b"changed")


async def quarantined(store: Link) -> Mapping[str, str]:
    found = await store.command("HGETALL", store.keys.quarantine())
    pairs: Mapping[bytes, bytes] = found
    return {node.decode(): reason.decode() for node, reason in pairs.items()}


def _begin(prefix: str, after: str) -> bytes:
    """Return where the keys over `after` with this prefix begin, as the index takes it."""
    if after and after >= prefix:
        return b"(" + after.encode()
    return b"[" + prefix.encode() if prefix else b"-"
