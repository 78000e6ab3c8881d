"""The record port on SQLite."""

from collections.abc import Sequence

from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.keyspace import end_of
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import AlreadyExistsError, NotFoundError, RevisionMismatchError
from meshd.records import Record, check_record

_PURGED = 10
"""Most lapsed records one write removes: more than it adds, so they cannot pile up."""


class SqliteRecordStore:
    """Implements `meshd.records.RecordStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> Record | None:
        return await self._database.read(lambda reader: _get(reader, key))

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        check_record(key, value)
        return await self._database.write(lambda transaction: _write(transaction, key, value, ttl_ms))

    async def create(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        check_record(key, value)

        def create(transaction: Transaction) -> int:
            if _revision(transaction, key) is not None:
                raise AlreadyExistsError(f"record {key!r} exists already")
            return _write(transaction, key, value, ttl_ms)

        return await self._database.write(create)

    async def update(self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None) -> int:
        check_record(key, value)

        def update(transaction: Transaction) -> int:
            current = _revision(transaction, key)
            if current is None:
                raise NotFoundError(f"no record {key!r}")
            if current != revision:
                raise RevisionMismatchError(key, expected=revision, current=current)
            return _write(transaction, key, value, ttl_ms)

        return await self._database.write(update)

    async def delete(self, key: str, *, revision: int | None = None) -> bool:
        def delete(transaction: Transaction) -> bool:
            current = _revision(transaction, key)
            if current is None:
                return False
            if revision is not None and current != revision:
                raise RevisionMismatchError(key, expected=revision, current=current)
            transaction.connection.execute("DELETE FROM records WHERE mesh = ? AND key = ?", (transaction.mesh, key))
            return True

        return await self._database.write(delete)

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        return await self._database.read(lambda reader: _list(reader, prefix, limit, after))


def _get(reader: Reader, key: str) -> Record | None:
    row = reader.connection.execute(
        "SELECT value, revision FROM records WHERE mesh = ? AND key = ? AND (expires_ms IS NULL OR expires_ms > ?)",
        (reader.mesh, key, reader.now_ms()),
    ).fetchone()
    return None if row is None else Record(key=key, value=row[0], revision=row[1])


def _list(reader: Reader, prefix: str, limit: int, after: str) -> list[Record]:
    rows = reader.connection.execute(
        "SELECT key, value, revision FROM records WHERE mesh = ? AND key >= ? AND key > ? AND key < ?"
        " AND (expires_ms IS NULL OR expires_ms > ?) ORDER BY key LIMIT ?",
        (reader.mesh, prefix, after, end_of(prefix), reader.now_ms(), limit),
    ).fetchall()
    return [Record(key=key, value=value, revision=revision) for key, value, revision in rows]


def _revision(transaction: Transaction, key: str) -> int | None:
    row = transaction.connection.execute(
        "SELECT revision FROM records WHERE mesh = ? AND key = ? AND (expires_ms IS NULL OR expires_ms > ?)",
        (transaction.mesh, key, transaction.now_ms),
    ).fetchone()
    return None if row is None else row[0]


def _write(transaction: Transaction, key: str, value: bytes, ttl_ms: int | None) -> int:
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    connection.execute(
        "DELETE FROM records WHERE rowid IN"
        " (SELECT rowid FROM records WHERE mesh = ? AND expires_ms <= ? ORDER BY expires_ms LIMIT ?)",
        (mesh, now_ms, _PURGED),
    )
    revision = transaction.next_revision()
    connection.execute(
        "INSERT INTO records (mesh, key, value, revision, expires_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET value = excluded.value, revision = excluded.revision, expires_ms = excluded.expires_ms",
        (mesh, key, value, revision, None if ttl_ms is None else now_ms + ttl_ms),
    )
    return revision
