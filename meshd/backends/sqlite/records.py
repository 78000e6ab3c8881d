"""The record port on SQLite."""

from collections.abc import Sequence
from typing import NamedTuple

from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.keyspace import end_of
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import AlreadyExistsError, FencedError, NoRoomError, NotFoundError, RevisionMismatchError
from meshd.records import Guard, Record, Room, check_record

_PURGED = 10
"""Most lapsed records one write removes: more than it adds, so they cannot pile up."""


class _Life(NamedTuple):
    """Which record is there now."""

    revision: int
    born: int
    born_ms: int


class SqliteRecordStore:
    """Implements `meshd.records.RecordStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> Record | None:
        return await self._database.read(lambda reader: _get(reader, key))

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None, guard: Guard | None = None) -> int:
        check_record(key, value)

        def put(transaction: Transaction) -> int:
            _check_guard(transaction, guard)
            return _write(transaction, key, value, ttl_ms, _life(transaction, key))

        return await self._database.write(put)

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        guard: Guard | None = None,
        room: Room | None = None,
    ) -> int:
        check_record(key, value)

        def create(transaction: Transaction) -> int:
            _check_guard(transaction, guard)
            if _life(transaction, key) is not None:
                raise AlreadyExistsError(f"record {key!r} exists already")
            _check_room(transaction, room)
            return _write(transaction, key, value, ttl_ms, None)

        return await self._database.write(create)

    async def update(
        self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None, guard: Guard | None = None
    ) -> int:
        check_record(key, value)

        def update(transaction: Transaction) -> int:
            _check_guard(transaction, guard)
            life = _life(transaction, key)
            if life is None:
                raise NotFoundError(f"no record {key!r}")
            if life.revision != revision:
                raise RevisionMismatchError(key, expected=revision, current=life.revision)
            return _write(transaction, key, value, ttl_ms, life)

        return await self._database.write(update)

    async def delete(self, key: str, *, revision: int | None = None, guard: Guard | None = None) -> bool:
        def delete(transaction: Transaction) -> bool:
            _check_guard(transaction, guard)
            life = _life(transaction, key)
            if life is None:
                return False
            if revision is not None and life.revision != revision:
                raise RevisionMismatchError(key, expected=revision, current=life.revision)
            transaction.connection.execute("DELETE FROM records WHERE mesh = ? AND key = ?", (transaction.mesh, key))
            return True

        return await self._database.write(delete)

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        return await self._database.read(lambda reader: _list(reader, prefix, limit, after))

    async def count(self, prefix: str) -> int:
        return await self._database.read(lambda reader: _count(reader, prefix))


def _get(reader: Reader, key: str) -> Record | None:
    now_ms = reader.now_ms()
    row = reader.connection.execute(
        "SELECT key, value, revision, born, born_ms, expires_ms FROM records"
        " WHERE mesh = ? AND key = ? AND (expires_ms IS NULL OR expires_ms > ?)",
        (reader.mesh, key, now_ms),
    ).fetchone()
    return None if row is None else _record(row, now_ms)


def _list(reader: Reader, prefix: str, limit: int, after: str) -> list[Record]:
    now_ms = reader.now_ms()
    rows = reader.connection.execute(
        "SELECT key, value, revision, born, born_ms, expires_ms FROM records"
        " WHERE mesh = ? AND key >= ? AND key > ? AND key < ? AND (expires_ms IS NULL OR expires_ms > ?)"
        " ORDER BY key LIMIT ?",
        (reader.mesh, prefix, after, end_of(prefix), now_ms, limit),
    ).fetchall()
    return [_record(row, now_ms) for row in rows]


def _count(reader: Reader | Transaction, prefix: str, *, living_at_ms: int | None = None) -> int:
    """Count the keys, which the index alone tells; with a time only of records that have not expired by then."""
    count = "SELECT count(*) FROM records WHERE mesh = ? AND key >= ? AND key < ?"
    values = [reader.mesh, prefix, end_of(prefix)]
    if living_at_ms is not None:
        count += " AND (expires_ms IS NULL OR expires_ms > ?)"
        values.append(living_at_ms)
    return int(reader.connection.execute(count, values).fetchone()[0])


def _record(row: tuple[str, bytes, int, int, int, int | None], now_ms: int) -> Record:
    key, value, revision, born, born_ms, expires_ms = row
    return Record(
        key=key,
        value=value,
        revision=revision,
        born=born,
        born_ms=born_ms,
        read_ms=now_ms,
        expires_ms=expires_ms,
    )


def _life(transaction: Transaction, key: str) -> _Life | None:
    row = transaction.connection.execute(
        "SELECT revision, born, born_ms FROM records"
        " WHERE mesh = ? AND key = ? AND (expires_ms IS NULL OR expires_ms > ?)",
        (transaction.mesh, key, transaction.now_ms),
    ).fetchone()
    return None if row is None else _Life(*row)


def _check_guard(transaction: Transaction, guard: Guard | None) -> None:
    if guard is None:
        return
    life = _life(transaction, guard.key)
    if life is None or life.born != guard.born:
        raise FencedError(f"record {guard.key!r}", token=guard.born, current=0 if life is None else life.born)


def _check_room(transaction: Transaction, room: Room | None) -> None:
    """Look at the records themselves only where there are too many keys."""
    if room is None or _count(transaction, room.prefix) < room.most:
        return
    if _count(transaction, room.prefix, living_at_ms=transaction.now_ms) >= room.most:
        raise NoRoomError(room.prefix, most=room.most)


def _write(transaction: Transaction, key: str, value: bytes, ttl_ms: int | None, life: _Life | None) -> int:
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    connection.execute(
        "DELETE FROM records WHERE rowid IN"
        " (SELECT rowid FROM records WHERE mesh = ? AND expires_ms <= ? ORDER BY expires_ms LIMIT ?)",
        (mesh, now_ms, _PURGED),
    )
    revision = transaction.next_revision()
    born, born_ms = (revision, now_ms) if life is None else (life.born, life.born_ms)
    connection.execute(
        "INSERT INTO records (mesh, key, value, revision, expires_ms, born, born_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET value = excluded.value, revision = excluded.revision,"
        " expires_ms = excluded.expires_ms, born = excluded.born, born_ms = excluded.born_ms",
        (mesh, key, value, revision, None if ttl_ms is None else now_ms + ttl_ms, born, born_ms),
    )
    return revision
