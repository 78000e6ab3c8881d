"""Reading the memory: each function sees one state of the file, however many statements it takes."""

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from meshd.backends.sqlite.bulk import array, select_in
from meshd.backends.sqlite.database import Reader
from meshd.backends.sqlite.keyspace import end_of
from meshd.backends.sqlite.memory_taking import decode_reasons
from meshd.memory.digests import BUCKETS, pack_sums
from meshd.memory.model import LOCAL, Change, Digest, Item, NodeClock, StoreClock, Version
from meshd.memory.sealing import read, read_item

PAGE_BYTES = 4_194_304
"""About how many bytes of items a page may have: it ends early, and is never empty for that."""

_SCAN_COST = 10
"""How many entries of the dot index cost as much as reading one item."""


@contextmanager
def one_state(reader: Reader) -> Generator[None]:
    """Have every statement of the block see the same commit."""
    reader.connection.execute("BEGIN")
    try:
        yield
    finally:
        reader.connection.execute("COMMIT")


def read_blobs(reader: Reader, keys: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of those of the items that there are."""
    select = "SELECT key, data FROM memory_items WHERE mesh = ? AND key {values}"
    return dict(select_in(reader.connection, select, reader.mesh, keys))


def read_list(reader: Reader, prefix: str, *, after: str, limit: int) -> list[tuple[str, bytes]]:
    """Return items under a prefix, by the bytes of the key."""
    return reader.connection.execute(
        "SELECT key, data FROM memory_items WHERE mesh = ? AND key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?",
        (reader.mesh, prefix, after, end_of(prefix), limit),
    ).fetchall()


def read_contested(reader: Reader, prefix: str, *, after: str, limit: int) -> list[tuple[str, Item]]:
    """Return items under a prefix that have several live siblings now."""
    now_ms = reader.now_ms()
    found: list[tuple[str, Item]] = []
    rows = reader.connection.execute(
        "SELECT key, data FROM memory_items WHERE mesh = ? AND is_contested = 1 AND key >= ? AND key > ? AND key < ?"
        " ORDER BY key",
        (reader.mesh, prefix, after, end_of(prefix)),
    )
    with closing(rows):
        for key, data in rows:
            item = read_item(data)
            if sum([version.is_live(now_ms) for version in item]) > 1:
                found.append((key, item))
                if len(found) >= limit:
                    break
    return found


def read_clock(reader: Reader) -> StoreClock:
    """Return where the store stands."""
    with one_state(reader):
        generation, revision, items, size, barred = reader.connection.execute(
            "SELECT generation, revision, items, bytes, quarantined FROM memories WHERE mesh = ?", (reader.mesh,)
        ).fetchone()
        actors = reader.connection.execute(
            "SELECT name, seq FROM memory_actors WHERE mesh = ? AND seq > 0 AND name <> ?", (reader.mesh, LOCAL)
        ).fetchall()
        now_ms = reader.now_ms()
    return StoreClock(
        generation=generation,
        revision=revision,
        clock=dict(actors),
        now_ms=now_ms,
        items=items,
        value_bytes=size,
        quarantined=decode_reasons(barred),
    )


def read_digest(reader: Reader) -> Digest:
    """Return the sums as they are kept."""
    sums = [0] * BUCKETS
    with one_state(reader):
        for bucket, total in reader.connection.execute(
            "SELECT bucket, sum FROM memory_digest WHERE mesh = ?", (reader.mesh,)
        ):
            sums[bucket] = total
        expired_ms = reader.connection.execute(
            "SELECT expired_ms FROM memories WHERE mesh = ?", (reader.mesh,)
        ).fetchone()[0]
    return Digest(buckets=pack_sums(sums), now_ms=expired_ms)


def read_changes(
    reader: Reader, *, after: int, limit: int, most_bytes: int = PAGE_BYTES, wanted_after: int | None = None
) -> tuple[Change, int]:
    """Return the items changed after a revision, and how often reports were asked for: `wanted` if more often now."""
    with one_state(reader):
        generation, newest, wanted = reader.connection.execute(
            "SELECT generation, revision, wanted FROM memories WHERE mesh = ?", (reader.mesh,)
        ).fetchone()
        rows, more = _page(
            reader.connection.execute(
                "SELECT revision, data FROM memory_items WHERE mesh = ? AND revision > ? ORDER BY revision",
                (reader.mesh, max(after, 0)),
            ),
            limit=limit,
            most_bytes=most_bytes,
        )
    change = Change(
        generation=generation,
        after=after,
        revision=rows[-1][0] if more else newest,
        versions=[version for _, data in rows for version in read_item(data) if version.header.actor != LOCAL],
        wanted=wanted_after is not None and wanted > wanted_after,
        more=more,
    )
    return change, wanted


def read_newer(reader: Reader, clock: NodeClock, *, after: str, limit: int) -> tuple[list[Version], str]:
    """Return what `clock` does not cover, by key; look where the dots say, or at every item if they are many."""
    with one_state(reader):
        items = reader.connection.execute("SELECT items FROM memories WHERE mesh = ?", (reader.mesh,)).fetchone()[0]
        ids = _ids_of(reader, _missing(reader, clock), most=int((_SCAN_COST * items * limit) ** 0.5))
        if ids is None:
            rows, more = _scan(reader, clock, after=after, limit=limit)
        else:
            rows, more = _pick(reader, ids, after=after, limit=limit)
    versions = [version for _, data in rows for version in read_item(data) if not _is_covered(version, clock)]
    return versions, rows[-1][0] if more else ""


def read_histories(reader: Reader, keys: Sequence[str], *, limit: int) -> list[list[Version]]:
    """Return what is kept of the past of each key, the latest first."""
    select = "SELECT key, blob FROM memory_history WHERE mesh = ? AND key {values} ORDER BY seq DESC"
    found: dict[str, list[bytes]] = {}
    for key, blob in select_in(reader.connection, select, reader.mesh, keys):
        found.setdefault(key, []).append(blob)
    return [[read(blob) for blob in found.get(key, ())[:limit]] for key in keys]


def read_written(reader: Reader, actor: str, *, after: int, limit: int) -> list[Version]:
    """Return an actor's current versions over a number, in order."""
    rows = reader.connection.execute(
        "SELECT dots.seq, data FROM memory_actors AS actors JOIN memory_dots AS dots ON dots.actor = actors.id"
        " JOIN memory_items AS items ON items.id = dots.item"
        " WHERE actors.mesh = ? AND actors.name = ? AND dots.seq > ? ORDER BY dots.seq LIMIT ?",
        (reader.mesh, actor, after, limit),
    ).fetchall()
    return [version for seq, data in rows for version in read_item(data) if version.dot == (actor, seq)]


def _page(
    rows: sqlite3.Cursor,
    *,
    limit: int,
    most_bytes: int = PAGE_BYTES,
    wanted: Callable[[bytes], bool] = lambda _: True,
) -> tuple[list[tuple[Any, bytes]], bool]:
    """Return the first rows of place and data that are wanted, and whether there are more."""
    page: list[tuple[Any, bytes]] = []
    size = 0
    with closing(rows):
        for place, data in rows:
            if not wanted(data):
                continue
            size += len(data)
            if page and (len(page) >= limit or size > most_bytes):
                return page, True
            page.append((place, data))
    return page, False


def _is_covered(version: Version, clock: NodeClock) -> bool:
    header = version.header
    return header.actor == LOCAL or header.seq <= clock.get(header.actor, 0)


def _missing(reader: Reader, clock: NodeClock) -> list[tuple[int, int]]:
    """Return the number of each actor, and up to where `clock` has it."""
    actors = reader.connection.execute(
        "SELECT id, name FROM memory_actors WHERE mesh = ? AND name <> ?", (reader.mesh, LOCAL)
    )
    return [(number, clock.get(name, 0)) for number, name in actors]


def _ids_of(reader: Reader, ranges: Sequence[tuple[int, int]], *, most: int) -> set[int] | None:
    """Return the items that have a version over these numbers; `None` if there are more than `most` versions."""
    ids: set[int] = set()
    left = most
    for actor, seq in ranges:
        found = reader.connection.execute(
            "SELECT item FROM memory_dots WHERE actor = ? AND seq > ? LIMIT ?", (actor, seq, left + 1)
        ).fetchall()
        left -= len(found)
        if left < 0:
            return None
        ids.update([item for (item,) in found])
    return ids


def _pick(reader: Reader, ids: set[int], *, after: str, limit: int) -> tuple[list[tuple[str, bytes]], bool]:
    following = reader.connection.execute(
        "SELECT id FROM memory_items WHERE id IN (SELECT value FROM json_each(?)) AND key > ? ORDER BY key LIMIT ?",
        (array(ids), after, limit + 1),
    ).fetchall()
    return _page(
        reader.connection.execute(
            "SELECT key, data FROM memory_items WHERE id IN (SELECT value FROM json_each(?)) ORDER BY key",
            (array([number for (number,) in following]),),
        ),
        limit=limit,
    )


def _scan(reader: Reader, clock: NodeClock, *, after: str, limit: int) -> tuple[list[tuple[str, bytes]], bool]:
    return _page(
        reader.connection.execute(
            "SELECT key, data FROM memory_items WHERE mesh = ? AND key > ? ORDER BY key", (reader.mesh, after)
        ),
        limit=limit,
        wanted=lambda data: not all(_is_covered(version, clock) for version in read_item(data)),
    )
