"""What time does to the memory: expiry, collection of what nobody needs any more, and forgetting. In short pages."""

from collections.abc import Mapping
from typing import NamedTuple

from meshd.backends.sqlite.memory_book import ItemBook, past_of
from meshd.backends.sqlite.transaction import Transaction
from meshd.memory.joining import is_spent
from meshd.memory.model import LOCAL, Dot, Item, MemoryLimits, NodeClock
from meshd.memory.sealing import read_item

_PAGE = 500
"""About how many items one transaction changes."""

_ALL = 1 << 63
"""Beyond every number."""

_FORGOTTEN = 1_000
"""Most versions of the past one transaction forgets."""


class Place(NamedTuple):
    """Up to which spent item, by revision and number, a collection has come."""

    revision: int = -1
    item: int = 0


def expire(transaction: Transaction, *, limits: MemoryLimits) -> bool:
    """Take a page of expired versions out of the digest; return whether there are more."""
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    last = connection.execute(
        "SELECT expires_ms FROM memory_items WHERE mesh = ? AND expires_ms <= ? ORDER BY expires_ms LIMIT 1 OFFSET ?",
        (mesh, now_ms, _PAGE),
    ).fetchone()
    up_to_ms = now_ms if last is None else last[0]
    book = ItemBook(transaction)
    due = connection.execute(
        "SELECT key FROM memory_items WHERE mesh = ? AND expires_ms <= ?", (mesh, up_to_ms)
    ).fetchall()
    keys = [key for (key,) in due]
    book.open(keys)
    for key in keys:
        book.expire(key)
    if up_to_ms > book.expired_ms:
        book.save(limits=limits, expired_ms=up_to_ms)
    return last is not None


def horizon(transaction: Transaction, *, limits: MemoryLimits) -> int:
    """Evict members that were silent for too long; return the revision that all others have."""
    connection, mesh = transaction.connection, transaction.mesh
    connection.execute(
        "DELETE FROM memory_members WHERE mesh = ? AND seen_ms <= ?",
        (mesh, transaction.now_ms - limits.evict_after_ms),
    )
    least, newest = connection.execute(
        "SELECT (SELECT min(revision) FROM memory_members WHERE mesh = :mesh), revision FROM memories"
        " WHERE mesh = :mesh",
        {"mesh": mesh},
    ).fetchone()
    return int(newest if least is None else least)


def collect(
    transaction: Transaction, place: Place, *, up_to: int, covered: NodeClock | None, limits: MemoryLimits
) -> tuple[int, Place | None]:
    """Remove a page of items that are spent, here and by the clock `covered`, if there is one.

    Return how many versions went, and where to go on.
    """
    connection = transaction.connection
    rows = connection.execute(
        "SELECT revision, id, key, data FROM memory_items WHERE mesh = ? AND is_spent = 1 AND (revision, id) > (?, ?)"
        " AND revision <= ? ORDER BY revision, id LIMIT ?",
        (transaction.mesh, *place, up_to, _PAGE),
    ).fetchall()
    if not rows:
        return 0, None
    book = ItemBook(transaction)
    reached = _reached(transaction, covered)
    spent = [row[2] for row in rows if is_spent(read_item(row[3]), covered=reached, now_ms=book.expired_ms)]
    book.open(spent)
    went = sum([len(book.item(key)) for key in spent])
    for key in spent:
        book.drop(key)
    book.save(limits=limits)
    return went, Place(rows[-1][0], rows[-1][1]) if len(rows) == _PAGE else None


def forget_history(transaction: Transaction, *, limits: MemoryLimits) -> bool:
    """Forget a page of versions that were superseded too long ago; return whether there are more."""
    numbers = past_of(transaction.mesh)
    forgotten = transaction.connection.execute(
        "DELETE FROM memory_history WHERE at_ms <= ? AND seq IN"
        " (SELECT seq FROM memory_history WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?)",
        (transaction.now_ms - limits.history_ttl_ms, numbers.start, numbers.stop, _FORGOTTEN),
    ).rowcount
    return forgotten == _FORGOTTEN


def drop(transaction: Transaction, keys: Mapping[str, tuple[Dot, ...]], *, limits: MemoryLimits) -> int:
    """Remove the items that are exactly as told, and their history."""
    book = ItemBook(transaction)
    book.open(keys)
    dropped = [key for key, dots in keys.items() if book.item(key) and _dots(book.item(key)) == set(dots)]
    for key in dropped:
        book.drop(key)
    book.save(limits=limits)
    transaction.connection.executemany(
        "DELETE FROM memory_history WHERE mesh = ? AND key = ?", [(transaction.mesh, key) for key in dropped]
    )
    return len(dropped)


def _reached(transaction: Transaction, covered: NodeClock | None) -> dict[str, int]:
    """Return up to where both this store and `covered` have everything; what is local is nowhere else."""
    actors = transaction.connection.execute("SELECT name, seq FROM memory_actors WHERE mesh = ?", (transaction.mesh,))
    reached = {name: seq if covered is None else min(seq, covered.get(name, 0)) for name, seq in actors}
    return {**reached, LOCAL: _ALL}


def _dots(item: Item) -> set[Dot]:
    return {version.dot for version in item}
