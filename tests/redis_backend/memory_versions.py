"""Versions for tests of the hub, and what its indexes must say of the items it has."""

from collections.abc import Mapping

from meshd.backends.redis.keys import COMMON, Keys
from meshd.memory.model import Batch, Dot, Flag, Header, Item, Version
from meshd.memory.sealing import Seal
from meshd.memory.store import MemoryStore
from tests.redis_backend.raw import Raw

SEAL = Seal("secret")
NOW_MS = 1_700_000_000_000


def version(
    key: str,
    seq: int,
    *,
    actor: str = "n1~a",
    body: bytes = b"1",
    is_deleted: bool = False,
    observed: dict[str, int] | None = None,
    expires_ms: int = 0,
) -> Version:
    """Return a version, made at the time tests begin at."""
    header = Header(
        actor=actor,
        seq=seq,
        observed=observed or {},
        ms=NOW_MS,
        flags=Flag.TOMBSTONE if is_deleted else Flag.NONE,
        expires_ms=expires_ms,
        key=key,
        node=actor.partition("~")[0],
    )
    return SEAL.make(header, b"" if is_deleted else body)


def batch(*versions: Version, conditions: Mapping[str, tuple[Dot, ...]] | None = None, token: int = 0) -> Batch:
    """Return a batch of exactly these versions."""
    headers = [each.header for each in versions]
    first, last = headers[0], headers[-1]
    return Batch(
        actor=first.actor, first=first.seq, last=last.seq, versions=versions, conditions=conditions or {}, token=token
    )


async def items_of(store: MemoryStore) -> dict[str, Item]:
    """Return everything a small store has."""
    return dict(await store.list("", limit=1_000))


def books_of(raw: Raw, keys: Keys) -> dict[str, dict[str, int]]:
    """Return the indexes: members with their scores."""
    prefix = keys.clock(COMMON).removesuffix("clock")
    kinds = ("mkeys", "mrev", "mexp", "mcf", "mgone")
    found = {kind: raw("ZRANGE", prefix + kind, 0, -1, "WITHSCORES") for kind in kinds}
    return {kind: {member.decode(): int(score) for member, score in pairs} for kind, pairs in found.items()}


def expected_books(
    items: Mapping[str, Item], revisions: Mapping[str, int], *, now_ms: int
) -> dict[str, dict[str, int]]:
    """Return what the indexes say of these items once expiry is applied."""
    live = {key: [each for each in item if each.is_live(now_ms)] for key, item in items.items()}
    ends = {key: [each.header.expires_ms for each in some if each.header.expires_ms] for key, some in live.items()}
    return {
        "mkeys": dict.fromkeys(items, 0),
        "mrev": dict(revisions),
        "mexp": {key: min(some) for key, some in ends.items() if some},
        "mcf": {key: 0 for key, some in live.items() if len(some) > 1},
        "mgone": {key: revisions[key] for key, some in live.items() if not some},
    }
