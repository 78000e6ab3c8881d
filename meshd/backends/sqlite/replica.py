"""A replica's own file: the memory store of one process, what it notes of itself, and whether it is still that file.

Invariant: whoever finds the `identity` it noted may go on numbering its versions where the file stands. A file that
was copied, restored from a copy, or that may have lost its newest commits in a crash of the machine has another one.
Beside the file lies its mark: a random word, new with each opening, that the file has too. It is locked while open.
"""

import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from meshd.backends.port import BackendOptions
from meshd.backends.sqlite.bells import Bell, clear_away_all
from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.memory import SqliteMemoryStore
from meshd.backends.sqlite.memory_reading import read_written
from meshd.backends.sqlite.opening import Location, raise_durability
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import (
    ConfigurationError,
    InvalidArgumentError,
    StoreReadOnlyError,
    StoreUnreachableError,
    UnavailableError,
)
from meshd.ids import new_id
from meshd.memory.model import NodeClock, Version
from meshd.tasks.model import Durability

_OWN = "file:"
"""How the names of facts begin that are kept for `identity`, and not shown."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MACHINE = Path("/etc/machine-id")


class SqliteReplicaFile:
    """Implements `meshd.memory.replication.local.ReplicaFile`."""

    def __init__(
        self, database: Database, bell: Bell, mark: BinaryIO, *, identity: str, options: BackendOptions
    ) -> None:
        self._database = database
        self._bell = bell
        self._mark = mark
        self.identity = identity
        self.store = SqliteMemoryStore(database, bell, options.memory)

    async def facts(self) -> Mapping[str, str]:
        found = await self._database.read(_read_facts)
        return {name: value for name, value in found.items() if not name.startswith(_OWN)}

    async def note(self, facts: Mapping[str, str]) -> None:
        if any(name.startswith(_OWN) for name in facts):
            raise InvalidArgumentError(f"names of facts do not begin with {_OWN!r}: {', '.join(facts)}")
        await self._database.write(lambda transaction: _note(transaction, facts))

    async def written(self, actor: str, *, after: int, limit: int = 100) -> Sequence[Version]:
        return await self._database.read(lambda reader: read_written(reader, actor, after=after, limit=limit))

    async def tidy(self, covered: NodeClock) -> int:
        return await self.store.tidy(covered)

    async def aclose(self) -> None:
        if self._mark.closed:
            return
        self._bell.close()
        # A file that cannot say that it was closed is taken for one that crashed.
        with suppress(UnavailableError):
            await self._database.write(lambda transaction: _note(transaction, {f"{_OWN}closed": "yes"}))
        await self._database.aclose()
        self._mark.close()


async def open_replica(path: Path, options: BackendOptions) -> SqliteReplicaFile:
    """Return the replica file at `path`, made if there is none, for this process alone.

    Raises:
        ConfigurationError: another process, or another replica of this one, has it open.
        StoreUnreachableError: its folder cannot be made, or it stays locked.
        StoreReadOnlyError: it cannot be written.
        CorruptDataError: it is damaged, or not a meshd store.
    """
    location = raise_durability(Location(path=path.absolute()), options.durability)  # noqa: ASYNC240
    mark = _lock_mark(location.path)
    database = Database(location, options, is_alone=True)
    try:
        await database.open()
        clear_away_all(database.bells)
        found = mark.read().decode(errors="replace")
        place = f"{_read(_MACHINE)}:{location.path.stat().st_ino}"
        word = new_id()
        identity = await database.write(
            lambda transaction: _recognise(transaction, found, word=word, place=place, durability=location.durability)
        )
        _write_mark(mark, word)
    except BaseException:
        await database.aclose()
        mark.close()
        raise
    return SqliteReplicaFile(database, Bell(database.bells), mark, identity=identity, options=options)


def _recognise(transaction: Transaction, mark: str, *, word: str, place: str, durability: Durability) -> str:
    """Return the file's identity: the one it has, unless it is not certain that this is the same file, whole."""
    kept = _facts(transaction.connection, transaction.mesh)
    boot = _read(_BOOT)
    is_whole = (
        durability >= Durability.D2 or f"{_OWN}closed" in kept or (boot != "" and kept.get(f"{_OWN}boot") == boot)
    )
    is_same = kept.get(f"{_OWN}mark") == mark and kept.get(f"{_OWN}place") == place
    identity = kept.get(f"{_OWN}identity", "")
    if not (identity and is_same and is_whole):
        identity = word
    names = {"identity": identity, "mark": word, "place": place, "boot": boot, "closed": ""}
    _note(transaction, {f"{_OWN}{name}": value for name, value in names.items()})
    return identity


def _lock_mark(path: Path) -> BinaryIO:
    name = path.with_name(f"{path.name}-mark")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        mark = os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
    except PermissionError as exc:
        raise StoreReadOnlyError(f"replica mark {name} cannot be written: {exc.strerror}") from exc
    except OSError as exc:
        raise StoreUnreachableError(f"replica mark {name} cannot be made: {exc.strerror}") from exc
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        mark.close()
        raise ConfigurationError(f"replica {path} is open already: give each node a state folder of its own") from exc
    return mark


def _write_mark(mark: BinaryIO, word: str) -> None:
    """Reach the disk: a file that went back while the machine was down must not find its old word."""
    mark.seek(0)
    mark.write(word.encode())
    mark.truncate()
    mark.flush()
    os.fsync(mark.fileno())


def _read(path: Path) -> str:
    """Return what the system says of itself there; empty where it does not."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _read_facts(reader: Reader) -> dict[str, str]:
    return _facts(reader.connection, reader.mesh)


def _facts(connection: sqlite3.Connection, mesh: int) -> dict[str, str]:
    return dict(connection.execute("SELECT name, value FROM memory_facts WHERE mesh = ?", (mesh,)))


def _note(transaction: Transaction, facts: Mapping[str, str]) -> None:
    connection, mesh = transaction.connection, transaction.mesh
    forgotten = array(name for name, value in facts.items() if not value)
    connection.execute(
        "DELETE FROM memory_facts WHERE mesh = ? AND name IN (SELECT value FROM json_each(?))", (mesh, forgotten)
    )
    execute_rows(
        connection,
        "INSERT OR REPLACE INTO memory_facts (mesh, name, value) VALUES {rows}",
        [(mesh, name, value) for name, value in facts.items() if value],
    )
