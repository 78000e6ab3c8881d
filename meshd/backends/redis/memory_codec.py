"""What the memory scripts are told and what they answer, as bytes and back."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from meshd.errors import CorruptDataError
from meshd.memory.model import (
    LOCAL,
    Applied,
    Batch,
    Change,
    Dot,
    Item,
    Member,
    MemoryLimits,
    NodeClock,
    Refusal,
    Reply,
    StoreClock,
    Version,
)
from meshd.memory.sealing import pack_one, read, read_item, unpack_item

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_WORDS = {word.value.encode(): word for word in Applied}
_ACTOR = b"@"
"""Before the names of actors in the store's hash."""
_LOCAL = _ACTOR + LOCAL.encode()


def packed_limits(limits: MemoryLimits) -> bytes:
    """Return the limits that concern a write, in the scripts' order."""
    numbers = (
        limits.max_item_bytes, limits.max_items, limits.max_bytes, limits.max_drift_ms, limits.history,
        limits.history_ttl_ms,
    )  # fmt: skip
    return b"".join(map(_encode, numbers))


def framed(versions: Sequence[Version]) -> list[bytes]:
    """Return versions as the scripts take them: as they stand in an item."""
    return [pack_one(version) for version in versions]


def packed_conditions(batch: Batch) -> bytes:
    """Return what a batch expects, key by key; nothing if it expects nothing."""
    if not batch.conditions:
        return b""
    return _encode({key: _flat(sorted(dots)) for key, dots in batch.conditions.items()})


def packed_dots(keys: Sequence[tuple[str, tuple[Dot, ...]]]) -> bytes:
    """Return keys, each with the dots of its siblings in their order."""
    return _encode([part for key, dots in keys for part in (key, _flat(sorted(dots)))])


def packed_clock(clock: NodeClock | None) -> bytes:
    """Return a node clock, which no local version moves; nothing for none."""
    return b"" if clock is None else _encode({actor: seq for actor, seq in clock.items() if actor != LOCAL})


def packed_member(member: Member) -> bytes:
    """Return what a replica says of itself."""
    return _encode([member.actor, dict(member.state)])


def replies_of(versions: Sequence[Version], told: Sequence[Any]) -> list[Reply]:
    """Return what became of the versions, as a script told it."""
    return [_reply(version, each) for version, each in zip(versions, told, strict=True)]


def store_clock(answer: Any) -> StoreClock:
    """Return where the store stands."""
    generation, now, fields, barred = answer
    said: dict[bytes, bytes] = dict(zip(fields[::2], fields[1::2], strict=True))
    return StoreClock(
        generation=generation.decode(),
        revision=int(said.get(b"revision", 0)),
        clock={name[1:].decode(): int(seq) for name, seq in said.items() if name.startswith(_ACTOR) and name != _LOCAL},
        now_ms=int(now),
        items=int(said.get(b"items", 0)),
        value_bytes=int(said.get(b"bytes", 0)),
        quarantined={node.decode(): why.decode() for node, why in zip(barred[::2], barred[1::2], strict=True)},
    )


def members_of(answer: Sequence[Any]) -> list[Member]:
    """Return the replicas, by node."""
    found: list[Member] = []
    for at in range(0, len(answer), 4):
        node, revision, seen, packed = answer[at : at + 4]
        actor, state = _decode(packed)
        found.append(Member(node=node.decode(), actor=actor, revision=int(revision), seen_ms=int(seen), state=state))
    return sorted(found, key=lambda member: member.node)


def change_of(message: bytes, *, known: int = 0) -> Change:
    """Return the change that a message of the feed tells, without its versions up to revision `known`.

    Raises:
        CorruptDataError: it was not written by a store.
    """
    head, newline, items = message.partition(b"\n")
    try:
        generation, after, reached, wanted = head.decode().split(" ")
        revision = int(reached)
        return Change(
            generation=generation,
            after=int(after),
            revision=revision,
            versions=shared(read_item(items)) if newline and revision > known else (),
            wanted=wanted == "1",
            more=not newline,
        )
    except ValueError as exc:
        raise CorruptDataError(f"a message of {len(message)} bytes tells of no change of the memory: {exc}") from exc


def versions_of(items: Sequence[bytes]) -> list[Version]:
    """Return the siblings of all these items, but for those that stay where they were written."""
    return shared([read(blob) for item in items for blob in unpack_item(item)])


def shared(versions: Iterable[Version]) -> list[Version]:
    """Return the versions that others may have."""
    return [version for version in versions if version.header.actor != LOCAL]


def items_of(answer: Sequence[bytes]) -> list[tuple[str, Item]]:
    """Return keys and items that come by turns."""
    return [(answer[at].decode(), read_item(answer[at + 1])) for at in range(0, len(answer), 2)]


def _reply(version: Version, told: Any) -> Reply:
    if told == b"applied":
        return Reply(applied=Applied.APPLIED, current=(version.dot,))
    if isinstance(told, bytes):
        return Reply(applied=_WORDS[told])
    applied = _WORDS[told[0]]
    if applied is Applied.REFUSED:
        return Reply(applied=applied, refusal=Refusal(told[1].decode()))
    return Reply(applied=applied, current=_dots(told[1:]))


def _dots(flat: Sequence[Any]) -> tuple[Dot, ...]:
    return tuple(Dot(flat[at].decode(), int(flat[at + 1])) for at in range(0, len(flat), 2))


def _flat(dots: Sequence[Dot]) -> list[str | int]:
    return [part for dot in dots for part in dot]
