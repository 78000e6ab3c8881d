"""Taking versions, within one transaction: a batch of one actor whole or not at all, or versions of anybody one by one.

Everything is judged on opened items before a row is written, so that refusing is dropping the book.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from meshd.backends.sqlite.memory_book import MEMORY_TOPIC, ItemBook
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import InvalidArgumentError
from meshd.memory.hybrid_clock import is_future
from meshd.memory.joining import admit
from meshd.memory.model import (
    LENT,
    LOCAL,
    MAX_BATCH,
    MAX_KEY_BYTES,
    Applied,
    Batch,
    Dot,
    Item,
    MemoryLimits,
    NodeClock,
    Pushed,
    Refusal,
    Reply,
    Version,
)

_KNOWN = Reply(applied=Applied.KNOWN)
_NOT_TAKEN = Reply(applied=Applied.CONFLICT)
_CHANGED = frozenset({Applied.APPLIED, Applied.SIBLING})
decode_reasons = msgspec.json.Decoder(dict[str, str]).decode


def check_size(versions: Sequence[Version]) -> None:
    """Return if one call may take so many versions.

    Raises:
        InvalidArgumentError: there are more than `MAX_BATCH`.
    """
    if len(versions) > MAX_BATCH:
        raise InvalidArgumentError(f"{len(versions)} versions at once, over the limit of {MAX_BATCH}")


def check_batch(batch: Batch) -> None:
    """Return if the batch is one.

    Raises:
        InvalidArgumentError: it has more than `MAX_BATCH` versions, or one that is not its actor's and of its numbers.
    """
    check_size(batch.versions)
    least = batch.first
    for version in batch.versions:
        header = version.header
        if header.actor != batch.actor or not least <= header.seq <= batch.last:
            raise InvalidArgumentError(
                f"version {header.actor}:{header.seq} has no place in a batch of {batch.actor} from {least}"
                f" to {batch.last}"
            )
        least = header.seq + 1


def push(transaction: Transaction, batch: Batch, *, limits: MemoryLimits, wanted: bool) -> Pushed:
    """Take the batch, or nothing of it."""
    book = ItemBook(transaction, actor=batch.actor)
    seq = book.clock_of([batch.actor]).get(batch.actor, 0)
    if _is_fenced(transaction, batch):
        fenced = Reply(applied=Applied.REFUSED, refusal=Refusal.FENCED)
        return _pushed(book, seq, [fenced] * len(batch.versions))
    if batch.first > seq + 1:
        return _pushed(book, seq, (), gap=True)
    book.open({version.header.key for version in batch.versions})
    faults = _faults(transaction, book, batch, seq, limits)
    replies = [] if faults else _take_all(book, batch, seq, limits, faults)
    if faults:
        return _pushed(book, seq, [faults.get(version.dot) or _spared(version, seq) for version in batch.versions])
    if batch.last > seq:
        seq = batch.last
        book.raise_clock({batch.actor: seq})
        book.save(limits=limits)
    book.learn()
    if wanted:
        ask_for_reports(transaction)
    return _pushed(book, seq, replies)


def absorb(
    transaction: Transaction,
    versions: Sequence[Version],
    *,
    clock: NodeClock | None,
    generation: str | None,
    limits: MemoryLimits,
) -> list[Reply]:
    """Take versions one by one, then raise the clock but for actors of whom one was refused."""
    book = ItemBook(transaction)
    if generation is not None and generation != book.generation:
        return [Reply(applied=Applied.REFUSED, refusal=Refusal.FENCED) for _ in versions]
    known = book.clock_of({version.header.actor for version in versions})
    book.open({version.header.key for version in versions})
    quarantined = _quarantined(book)
    refused: set[str] = set()
    replies: list[Reply] = []
    for version in versions:
        header = version.header
        item = book.item(header.key)
        why = None
        if known.get(header.actor, 0) < header.seq:
            why = _refusal(version, quarantined=quarantined, now_ms=transaction.now_ms, limits=limits)
            if why and any(kept.header.dot == header.dot for kept in item):
                why = None
        reply = Reply(applied=Applied.REFUSED, refusal=why) if why else _take(book, version, known, limits)
        if reply.applied is Applied.REFUSED:
            refused.add(header.actor)
        replies.append(reply)
    if clock is not None:
        ahead = _ahead(transaction, clock, without=refused)
        book.raise_clock(ahead)
        _retire(transaction, [name for name in ahead if name.startswith(LENT)])
    book.save(limits=limits)
    book.learn()
    return replies


def ask_for_reports(transaction: Transaction) -> None:
    """Have every replica that follows the feed report at once."""
    transaction.connection.execute("UPDATE memories SET wanted = wanted + 1 WHERE mesh = ?", (transaction.mesh,))
    transaction.publish(MEMORY_TOPIC, {})


def _take_all(book: ItemBook, batch: Batch, seq: int, limits: MemoryLimits, faults: dict[Dot, Reply]) -> list[Reply]:
    """Change the opened items; what does not fit any more is a fault."""
    known = {batch.actor: seq}
    replies: list[Reply] = []
    for version in batch.versions:
        reply = _take(book, version, known, limits)
        if reply.applied is Applied.REFUSED:
            faults[version.dot] = reply
            break
        replies.append(reply)
    return replies


def _take(book: ItemBook, version: Version, known: NodeClock, limits: MemoryLimits) -> Reply:
    key = version.header.key
    before = book.item(key)
    applied, after = admit(before, version, known)
    if applied in _CHANGED and not book.put(key, after, limits=limits):
        return Reply(applied=Applied.REFUSED, refusal=Refusal.FULL)
    return Reply(applied=applied, current=_dots(after))


def _faults(transaction: Transaction, book: ItemBook, batch: Batch, seq: int, limits: MemoryLimits) -> dict[Dot, Reply]:
    """Return what speaks against taking the batch, by version."""
    quarantined, now_ms = _quarantined(book), transaction.now_ms
    repeated = {version.header.key for version in batch.versions if version.header.seq <= seq}
    faults: dict[Dot, Reply] = {}
    for version in batch.versions:
        header = version.header
        if header.seq <= seq:
            continue
        why = _refusal(version, quarantined=quarantined, now_ms=now_ms, limits=limits)
        expected = batch.conditions.get(header.key) if header.key not in repeated else None
        if why is not None:
            faults[version.dot] = Reply(applied=Applied.REFUSED, refusal=why)
        elif expected is not None and not _holds(book.item(header.key), expected, now_ms):
            faults[version.dot] = Reply(applied=Applied.CONFLICT, current=_dots(book.item(header.key)))
    return faults


def _spared(version: Version, seq: int) -> Reply:
    return _KNOWN if version.header.seq <= seq else _NOT_TAKEN


def _holds(item: Item, expected: Sequence[Dot], now_ms: int) -> bool:
    return {version.dot for version in item if version.is_live(now_ms)} == set(expected)


def _refusal(version: Version, *, quarantined: Collection[str], now_ms: int, limits: MemoryLimits) -> Refusal | None:
    header = version.header
    if len(version.blob) > limits.max_item_bytes or len(header.key.encode()) > MAX_KEY_BYTES:
        return Refusal.TOO_LARGE
    if is_future(header.ms, now_ms=now_ms, max_drift_ms=limits.max_drift_ms):
        return Refusal.FUTURE
    is_kept_out = bool(quarantined) and (header.node in quarantined or header.actor.partition("~")[0] in quarantined)
    return Refusal.QUARANTINED if is_kept_out else None


def _is_fenced(transaction: Transaction, batch: Batch) -> bool:
    connection, mesh = transaction.connection, transaction.mesh
    if batch.token or batch.actor.startswith(LENT):
        lent = connection.execute(
            "SELECT token FROM memory_leases WHERE mesh = ? AND actor = ?", (mesh, batch.actor)
        ).fetchone()
        if lent != (batch.token,):
            return True
    if batch.master is None:
        return False
    prefix, epoch = batch.master
    row = connection.execute(
        "SELECT epoch FROM memory_masters WHERE mesh = ? AND prefix = ?", (mesh, prefix)
    ).fetchone()
    return bool(row != (epoch,))


def _pushed(book: ItemBook, seq: int, replies: Sequence[Reply], *, gap: bool = False) -> Pushed:
    is_taken = not gap and not any(reply.applied in (Applied.REFUSED, Applied.CONFLICT) for reply in replies)
    return Pushed(
        generation=book.generation,
        revision=book.revision if is_taken else book.start,
        seq=seq,
        replies=replies,
        gap=gap,
    )


def _ahead(transaction: Transaction, clock: NodeClock, *, without: set[str]) -> dict[str, int]:
    """Return the part of `clock` that the store's own does not cover."""
    known = dict(
        transaction.connection.execute("SELECT name, seq FROM memory_actors WHERE mesh = ?", (transaction.mesh,))
    )
    return {
        name: seq for name, seq in clock.items() if name != LOCAL and name not in without and seq > known.get(name, 0)
    }


def _retire(transaction: Transaction, actors: Sequence[str]) -> None:
    """Never lend these again: others know of numbers that this store gave out and lost."""
    transaction.connection.executemany(
        "DELETE FROM memory_leases WHERE mesh = ? AND actor = ?", [(transaction.mesh, actor) for actor in actors]
    )


def _quarantined(book: ItemBook) -> Mapping[str, str]:
    return {} if book.quarantined == "{}" else decode_reasons(book.quarantined)


def _dots(item: Item) -> tuple[Dot, ...]:
    return tuple([version.dot for version in item])
