"""Items opened for a change: written back as rows, with all that is made from them, once and at the end.

Whoever changes an item does it here, so dots, digest, history and counts always follow from the change itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from meshd.backends.sqlite.bulk import execute_rows, select_in
from meshd.backends.sqlite.known import Actor, Known, MemoryRow
from meshd.backends.sqlite.transaction import Transaction
from meshd.memory.digests import bucket_of, fingerprint
from meshd.memory.model import LOCAL, Item, MemoryLimits
from meshd.memory.sealing import pack_item, read_item

MEMORY_TOPIC = "memory:items"
"""Hints that items have changed."""

_STATE = """
SELECT actors.id, actors.seq, generation, revision, items, bytes, expired_ms, quarantined, past
    FROM memories LEFT JOIN memory_actors AS actors ON actors.mesh = memories.mesh AND actors.name = ?
    WHERE memories.mesh = ?
"""
_ACTORS = "SELECT name, id, seq FROM memory_actors WHERE mesh = ? AND name {values}"
_SELECT = "SELECT key, id, revision, past, data FROM memory_items WHERE mesh = ? AND key {values}"
_TRIM = """
DELETE FROM memory_history WHERE mesh = ? AND key = ? AND seq <=
    (SELECT seq FROM memory_history WHERE mesh = ? AND key = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)
"""
_PAST_BITS = 44
_PAST_SLACK = 8
"""How far a key's history may outgrow what is kept before it is cut, so that not every write deletes."""


class _Row(NamedTuple):
    """What is derived from an item."""

    revision: int
    expires_ms: int | None
    is_contested: bool
    is_spent: bool
    past: int
    data: bytes


@dataclass(slots=True)
class _Place:
    """One key: its item as it was read, and as it is now."""

    id: int
    """0 for an item that has no row."""
    revision: int
    past: int
    """At least how many versions its history has."""
    size: int
    before: Item
    item: Item


class ItemBook:
    """The items one transaction changes."""

    def __init__(self, transaction: Transaction, *, actor: str = "") -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._mesh = transaction.mesh
        self._actors: dict[str, Actor] = {}
        self._free_id = 0
        self._is_heard = True
        stored = self._read_state(actor)
        self.generation = stored.generation
        self.revision = stored.revision
        self.items = stored.items
        self.bytes = stored.bytes
        self.expired_ms = stored.expired_ms
        """Versions that expire up to then do not count in the digest any more."""
        self.quarantined = stored.quarantined
        self._past = stored.past
        self.start = self.revision
        self._places: dict[str, _Place] = {}
        self._changed: dict[str, _Place] = {}
        self._history: list[tuple[str, bytes]] = []

    def _read_state(self, actor: str) -> MemoryRow:
        known = self._transaction.known
        if known is not None:
            self._actors, self._free_id, self._is_heard = known.actors, known.free_id, known.is_heard
            return known.memory
        number, seq, *row = self._connection.execute(_STATE, (actor, self._mesh)).fetchone()
        if number is not None:
            self._actors[actor] = Actor(number, seq)
        return MemoryRow(*row)

    def open(self, keys: Iterable[str]) -> None:
        """Read the items of these keys."""
        wanted = [key for key in keys if key not in self._places]
        for key, item_id, revision, past, data in select_in(self._connection, _SELECT, self._mesh, wanted):
            item = read_item(data)
            self._places[key] = _Place(item_id, revision, past, len(data), item, item)
        for key in wanted:
            if key not in self._places:
                self._places[key] = _Place(0, 0, 0, 0, (), ())

    def item(self, key: str) -> Item:
        """Return an opened item as it is now."""
        return self._places[key].item

    def put(self, key: str, item: Item, *, limits: MemoryLimits) -> bool:
        """Change an opened item, and give what it supersedes to the history; return false if it does not fit."""
        place = self._places[key]
        was = place.item
        size = _size(item)
        if (not was and self.items >= limits.max_items) or (
            size > place.size and self.bytes + size - place.size > limits.max_bytes
        ):
            return False
        if any(version.header.actor != LOCAL for version in (*item, *was)):
            self.revision += 1
            place.revision = self.revision
        kept = {id(version) for version in item}
        for version in was:
            if id(version) not in kept:
                place.past += 1
                self._history.append((key, version.blob))
        self._replace(key, place, item, size)
        return True

    def drop(self, key: str) -> None:
        """Remove an opened item: neither a change nor history comes of it."""
        self._replace(key, self._places[key], (), 0)

    def expire(self, key: str) -> None:
        """Write an opened item anew because the time has come for one of its versions."""
        self._changed[key] = self._places[key]

    def save(self, *, limits: MemoryLimits, expired_ms: int | None = None) -> None:
        """Write all changes; with `expired_ms`, the digest leaves out what expires up to then."""
        if not self._changed and expired_ms is None:
            return
        counted_to, self.expired_ms = self.expired_ms, expired_ms or self.expired_ms
        self._save_digest(counted_to)
        self._save_history(limits.history)
        self._save_items()
        self._connection.execute(
            "UPDATE memories SET revision = ?, items = ?, bytes = ?, expired_ms = ?, past = ? WHERE mesh = ?",
            (self.revision, self.items, self.bytes, self.expired_ms, self._past, self._mesh),
        )
        if self.revision != self.start and self._is_heard:
            self._transaction.publish(MEMORY_TOPIC, {})

    def actor(self, name: str) -> int:
        """Return the number of an actor, which it gets here if it has none."""
        known = self._actors.get(name)
        if known is not None:
            return known.id
        if not self.clock_of([name]):
            row = self._connection.execute(
                "INSERT INTO memory_actors (mesh, name) VALUES (?, ?) RETURNING id", (self._mesh, name)
            ).fetchone()
            self._actors[name] = Actor(row[0], 0)
        return self._actors[name].id

    def clock_of(self, names: Iterable[str]) -> dict[str, int]:
        """Return up to which number the versions of these actors were received, of those that have a row."""
        actors, wanted = self._actors, list(names)
        missing = [name for name in wanted if name not in actors]
        if missing:
            for name, number, seq in select_in(self._connection, _ACTORS, self._mesh, missing):
                actors[name] = Actor(number, seq)
        return {name: actors[name].seq for name in wanted if name in actors}

    def raise_clock(self, clock: Mapping[str, int]) -> None:
        """Note that the versions of these actors were received up to these numbers."""
        rows = [(seq, self.actor(name)) for name, seq in clock.items()]
        self._connection.executemany("UPDATE memory_actors SET seq = ? WHERE id = ?", rows)
        for name, seq in clock.items():
            self._actors[name].seq = seq

    def learn(self) -> None:
        """Let the next transaction start with what was read and saved here; nothing but this book changed it."""
        row = MemoryRow(
            self.generation, self.revision, self.items, self.bytes, self.expired_ms, self.quarantined, self._past
        )
        self._transaction.learn(Known(memory=row, actors=self._actors, free_id=self._free_id, is_heard=self._is_heard))

    def _replace(self, key: str, place: _Place, item: Item, size: int) -> None:
        self.items += bool(item) - bool(place.item)
        self.bytes += size - place.size
        place.item, place.size = item, size
        self._changed[key] = place

    def _save_items(self) -> None:
        new: list[tuple[int, str, _Row]] = []
        old: list[tuple[object, ...]] = []
        gone: list[tuple[int]] = []
        added: list[tuple[int, int, int]] = []
        removed: list[tuple[int, int]] = []
        for key, place in self._changed.items():
            if not place.item and not place.id:
                continue
            if place.item and place.id:
                old.append((*self._row(place), place.id))
            elif place.item:
                place.id = self._next_id()
                new.append((place.id, key, self._row(place)))
            else:
                gone.append((place.id,))
            before, after = _dots(place.before), _dots(place.item)
            removed.extend([(self.actor(actor), seq) for actor, seq in before - after])
            added.extend([(self.actor(actor), seq, place.id) for actor, seq in after - before])
        connection = self._connection
        if removed:
            connection.executemany("DELETE FROM memory_dots WHERE actor = ? AND seq = ?", removed)
        if gone:
            connection.executemany("DELETE FROM memory_items WHERE id = ?", gone)
        if old:
            connection.executemany(
                "UPDATE memory_items SET revision = ?, expires_ms = ?, is_contested = ?, is_spent = ?, past = ?,"
                " data = ? WHERE id = ?",
                old,
            )
        execute_rows(
            connection,
            "INSERT INTO memory_items (id, mesh, key, revision, expires_ms, is_contested, is_spent, past, data)"
            " VALUES {rows}",
            [(number, self._mesh, key, *row) for number, key, row in new],
        )
        execute_rows(connection, "INSERT OR REPLACE INTO memory_dots (actor, seq, item) VALUES {rows}", added)

    def _next_id(self) -> int:
        if not self._free_id:
            found = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM memory_items").fetchone()
            self._free_id = int(found[0])
        self._free_id += 1
        return self._free_id - 1

    def _row(self, place: _Place) -> _Row:
        item, expired_ms = place.item, self.expired_ms
        expiries = [version.header.expires_ms for version in item if version.header.expires_ms > expired_ms]
        live = sum([version.is_live(expired_ms) for version in item])
        return _Row(
            revision=place.revision,
            expires_ms=min(expiries) if expiries else None,
            is_contested=live > 1,
            is_spent=not live,
            past=place.past,
            data=pack_item(item),
        )

    def _save_digest(self, counted_to: int) -> None:
        """Move the sums from what the items counted, up to `counted_to`, to what they count now.

        No sum overflows: 48 bits each, of ten million items in 4,096 buckets.
        """
        moved: dict[int, int] = {}
        for key, place in self._changed.items():
            bucket, by = bucket_of(key), _sum(place.item, self.expired_ms) - _sum(place.before, counted_to)
            moved[bucket] = moved.get(bucket, 0) + by
        execute_rows(
            self._connection,
            "INSERT INTO memory_digest (mesh, bucket, sum) VALUES {rows}"
            " ON CONFLICT DO UPDATE SET sum = sum + excluded.sum",
            [(self._mesh, bucket, by) for bucket, by in moved.items() if by],
        )

    def _save_history(self, kept: int) -> None:
        """Add to the history; a key's is cut back now and then, and its readers look at no more than is kept."""
        if not self._history or not kept:
            return
        mesh, now_ms = self._mesh, self._transaction.now_ms
        first = past_of(mesh).start + self._past
        rows = [(first + at, mesh, key, now_ms, blob) for at, (key, blob) in enumerate(self._history)]
        execute_rows(self._connection, "INSERT INTO memory_history (seq, mesh, key, at_ms, blob) VALUES {rows}", rows)
        self._past += len(rows)
        for key in dict.fromkeys([key for key, _ in self._history]):
            place = self._places[key]
            if place.past > kept + _PAST_SLACK:
                self._connection.execute(_TRIM, (mesh, key, mesh, key, kept))
                place.past = kept


def past_of(mesh: int) -> range:
    """Return the numbers of a mesh's history: in the order of time, and apart from those of other meshes."""
    return range(mesh << _PAST_BITS, (mesh + 1) << _PAST_BITS)


def _size(item: Item) -> int:
    return sum([4 + len(version.blob) for version in item])


def _dots(item: Item) -> set[tuple[str, int]]:
    return {(version.header.actor, version.header.seq) for version in item}


def _sum(item: Item, expired_ms: int) -> int:
    """Return what an item counts in the digest of a store that has applied expiry up to `expired_ms`."""
    return sum(
        [fingerprint(each) for each in item if each.is_live(expired_ms) and each.header.actor != LOCAL] if item else ()
    )
