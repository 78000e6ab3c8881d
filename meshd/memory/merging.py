"""Values that merge: maps, sets and counters as parts that remember which version wrote them. Pure.

The body of such a value is one JSON object: the name of a part → the writes of it that stand, each `[value]` if the
version itself made it, else `[value, ms, tick, actor, seq]`. A part is

- a field of a map, with its value (a value inside a field is taken or left whole),
- an element of a set, named by its JSON text, with no value of its own,
- an actor of a counter, with the sum of what it added.

A write of a part is gone once a sibling that had seen it shows the part without it: that one removed or replaced it.
So a change wins over a concurrent removal, an addition over a concurrent removal, and increments always add up. Of
concurrent writes of one part the latest shows, the others stay until the part is written again.
Source: observed-remove maps, Baquero, Almeida, Lerche: "The problem with embedded CRDT counters and a solution", 2016.

A version's `observed` must be that of the very `over` its body was made from, so let nobody else write as the same
actor between reading `over` and the write: the actor's own earlier versions count as seen.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from meshd.codec import decode, encode, pack, unpack
from meshd.errors import CorruptDataError, InvalidArgumentError, InvalidPayloadError
from meshd.memory.joining import observes
from meshd.memory.model import Dot, Header, Item, Kind, Version

Body = Callable[[Header], bytes]
"""Makes a version's body once its dot and time are known."""


class _Write(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One write of one part; without an actor: by the version it is read from."""

    value: Any
    ms: int = 0
    tick: int = 0
    actor: str = ""
    seq: int = 0

    @property
    def dot(self) -> Dot:
        return Dot(self.actor, self.seq)

    @property
    def time(self) -> tuple[int, int, str, int]:
        return (self.ms, self.tick, self.actor, self.seq)


_Parts = dict[str, list[_Write]]
_NOBODY: list[_Write] = []

_decode_parts = msgspec.json.Decoder(_Parts).decode
_encode_parts = msgspec.json.Encoder(order="sorted").encode
_canonical = msgspec.json.Encoder(order="sorted").encode


def plain(value: object) -> Body:
    """Return the body of a value that is taken or left whole.

    Raises:
        InvalidPayloadError: the value has no JSON form.
    """
    body = encode(value, what="memory value")
    return lambda _: body


def merged_map(value: Mapping[str, object], over: Item) -> Body:
    """Return the body of a map written over these siblings: fields that differ from theirs are this version's.

    Raises:
        InvalidPayloadError: the value has no JSON form as an object.
    """
    fields = decode(encode(value, what="memory value"))
    if not isinstance(fields, dict):
        raise InvalidPayloadError(f"memory value of type {type(value).__name__} is no object of fields")
    change = _MapChange(cast("dict[str, Any]", fields))
    return lambda header: _write(header, over, Kind.MAP, change)


def counted(over: Item, by: float) -> Body:
    """Return the body of a counter that stands `by` higher than these siblings together.

    Raises:
        InvalidArgumentError: `by` is no finite number, or the key holds something else.
    """
    if isinstance(by, bool) or not math.isfinite(by):
        raise InvalidArgumentError(f"a counter cannot rise by {by!r}")
    _check(over, Kind.COUNTER)

    def change(parts: _Parts, header: Header) -> None:
        parts[header.actor] = [_Write(_total(parts.get(header.actor, ())) + by)]

    return lambda header: _write(header, over, Kind.COUNTER, change)


def set_changed(over: Item, *, add: Iterable[object] = (), remove: Iterable[object] = ()) -> Body:
    """Return the body of the set of these siblings, with and without some elements; what is in both is added.

    Raises:
        InvalidPayloadError: an element has no JSON form.
        InvalidArgumentError: the key holds something else.
    """
    added, removed = ([element_text(each) for each in elements] for elements in (add, remove))
    _check(over, Kind.SET)

    def change(parts: _Parts, _: Header) -> None:
        for text in removed:
            parts.pop(text, None)
        for text in added:
            parts[text] = [_Write(None)]

    return lambda header: _write(header, over, Kind.SET, change)


def value_of(version: Version) -> Any:
    """Return the value of one version as its writer saw it; `None` for a tombstone.

    Raises:
        CorruptDataError: the body is not what this module or `plain` writes.
    """
    if version.header.is_tombstone:
        return None
    kind = version.header.kind
    if kind == Kind.VALUE:
        return decode(version.body)
    parts = _read_parts(version)
    if any(len(writes) > 1 for writes in parts.values()):
        parts = _stamped(version.header, parts)
    return _shown(parts, kind)


def merge(versions: Sequence[Version], *, kind: str) -> Any:
    """Return the value of live siblings together; the same whatever their order.

    Those that cannot be read as `kind` are left out, see `mergeable`.
    """
    return _shown(_standing(_sides(versions, kind)), kind)


def mergeable(versions: Iterable[Version], *, kind: str) -> tuple[Version, ...]:
    """Return the versions of this kind, and the plain values that can be read as it: objects, lists, numbers."""
    return tuple(version for version, _ in _readable(versions, kind))


def writers(versions: Sequence[Version], *, kind: str) -> dict[str, Dot]:
    """Return which version wrote each part that shows: field, element text or actor → dot."""
    return {name: _latest(writes).dot for name, writes in sorted(_standing(_sides(versions, kind)).items())}


def element_text(element: object) -> str:
    """Return the name of a set's element: equal JSON values have equal names.

    Raises:
        InvalidPayloadError: it has no JSON form.
    """
    return _canonical(decode(encode(element, what="element"))).decode()


class _MapChange:
    """Makes the parts of a map show `fields`, touching only what differs."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __call__(self, parts: _Parts, _: Header) -> None:
        for gone in parts.keys() - self._fields.keys():
            del parts[gone]
        for name, value in self._fields.items():
            writes = parts.get(name)
            if writes is None or _canonical(_latest(writes).value) != _canonical(value):
                parts[name] = [_Write(value)]


def _shown(parts: _Parts, kind: str) -> Any:
    if kind == Kind.MAP:
        return {name: _latest(writes).value for name, writes in sorted(parts.items())}
    if kind == Kind.SET:
        return [decode(text.encode()) for text in sorted(parts)]
    return _sum(_total(writes) for writes in parts.values())


def _write(header: Header, over: Item, kind: Kind, change: Callable[[_Parts, Header], None]) -> bytes:
    live = [version for version in over if version.is_live(header.ms)]
    parts = dict(_standing(_sides(live, kind)))
    change(parts, header)
    stored = {name: [_stored(write) for write in writes] for name, writes in parts.items()}
    return pack(_encode_parts(stored), what="memory value")


def _stored(write: _Write) -> _Write | tuple[Any]:
    return write if write.actor else (write.value,)


def _standing(sides: Sequence[tuple[Header, _Parts]]) -> _Parts:
    """Return the writes of each part that no side has seen and done away with."""
    if len(sides) == 1:
        return sides[0][1]
    standing: _Parts = {}
    for name in {name for _, parts in sides for name in parts}:
        columns = [parts.get(name, _NOBODY) for _, parts in sides]
        kept = columns[0]
        if any(column != kept for column in columns):
            kept = _kept([header for header, _ in sides], columns)
        if kept:
            standing[name] = kept
    return standing


def _kept(headers: Sequence[Header], columns: Sequence[list[_Write]]) -> list[_Write]:
    """Return the writes of one part that stand, of what each side shows of it."""
    writes = {(write.actor, write.seq): write for column in columns for write in column}
    shown = [
        (header, {(write.actor, write.seq) for write in column})
        for header, column in zip(headers, columns, strict=True)
    ]
    return [
        writes[dot]
        for dot in sorted(writes)
        if not any(dot not in side and observes(header, Dot(*dot)) for header, side in shown)
    ]


def _sides(versions: Iterable[Version], kind: str) -> list[tuple[Header, _Parts]]:
    return [(version.header, parts) for version, parts in _readable(versions, kind)]


def _readable(versions: Iterable[Version], kind: str) -> Iterator[tuple[Version, _Parts]]:
    for version in versions:
        header = version.header
        if header.is_tombstone:
            continue
        if header.kind == kind:
            yield version, _stamped(header, _read_parts(version))
        elif header.kind == Kind.VALUE:
            values = _parts_of_plain(decode(version.body), header, kind)
            if values is not None:
                yield version, _stamped(header, {name: [_Write(value)] for name, value in values.items()})


def _parts_of_plain(value: Any, header: Header, kind: str) -> dict[str, Any] | None:
    match value:
        case dict() if kind == Kind.MAP:
            return cast("dict[str, Any]", value)
        case list() if kind == Kind.SET:
            return dict.fromkeys(map(element_text, cast("Iterable[Any]", value)))
        case int() | float() if kind == Kind.COUNTER and not isinstance(value, bool):
            return {header.actor: value}
        case _:
            return None


def _stamped(header: Header, parts: _Parts) -> _Parts:
    ms, tick, actor, seq = header.ms, header.tick, header.actor, header.seq
    return {
        name: [write if write.actor else _Write(write.value, ms, tick, actor, seq) for write in writes]
        for name, writes in parts.items()
    }


def _read_parts(version: Version) -> _Parts:
    try:
        parts = _decode_parts(unpack(version.body))
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"memory key {version.key!r} has no stamped parts: {exc}") from exc
    if not all(parts.values()):
        raise CorruptDataError(f"memory key {version.key!r} has a part that nobody wrote")
    return parts


def _check(over: Item, kind: Kind) -> None:
    shown = [version for version in over if not version.header.is_tombstone]
    if len(mergeable(shown, kind=kind)) < len(shown):
        held = next(version for version in shown if not mergeable((version,), kind=kind))
        raise InvalidArgumentError(
            f"memory key {held.key!r} holds a {held.header.kind}, not a {kind}: delete it, or use another"
        )


def _latest(writes: Sequence[_Write]) -> _Write:
    return writes[0] if len(writes) == 1 else max(writes, key=lambda write: write.time)


def _total(writes: Sequence[_Write]) -> float:
    return _latest(writes).value if writes else 0


def _sum(totals: Iterable[float]) -> float:
    numbers = list(totals)
    return sum(numbers) if all(isinstance(each, int) for each in numbers) else math.fsum(numbers)
