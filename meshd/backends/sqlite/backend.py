"""All ports on one SQLite file, for one mesh."""

import sqlite3
import time
from contextlib import suppress

from meshd.backends.port import BackendHealth, BackendOptions
from meshd.backends.sqlite.bells import Bell, clear_away_all
from meshd.backends.sqlite.database import Database
from meshd.backends.sqlite.events import SqliteEventBus
from meshd.backends.sqlite.memory import SqliteMemoryStore
from meshd.backends.sqlite.nodes import SqliteNodeStore
from meshd.backends.sqlite.opening import locate, raise_durability
from meshd.backends.sqlite.records import SqliteRecordStore
from meshd.backends.sqlite.tasks import SqliteTaskStore
from meshd.backends.sqlite.waiting import forget_bells
from meshd.errors import UnavailableError


class SqliteBackend:
    """Implements `meshd.backends.port.Backend`."""

    def __init__(self, url: str, database: Database, options: BackendOptions) -> None:
        self._url = url
        self._database = database
        self._bell = Bell(database.bells)
        self.nodes = SqliteNodeStore(database, options.nodes)
        self.tasks = SqliteTaskStore(database, self._bell, options)
        self.memory = SqliteMemoryStore(database, self._bell, options.memory)
        self.records = SqliteRecordStore(database)
        self.events = SqliteEventBus(database, self._bell)

    async def health(self) -> BackendHealth:
        asked = time.perf_counter()
        await self._database.read(lambda reader: reader.now_ms())
        return BackendHealth(
            url=self._url,
            kind="sqlite_local",
            version=sqlite3.sqlite_version,
            latency_ms=(time.perf_counter() - asked) * 1000,
            durability=self._database.location.durability,
        )

    async def aclose(self) -> None:
        if not self._bell.closed and self._bell.name:
            # If the store is gone, whoever rings next finds nobody there and removes the bell.
            with suppress(UnavailableError):
                await self._database.write(lambda transaction: forget_bells(transaction.connection, [self._bell.name]))
        self._bell.close()
        await self._database.aclose()


async def open_backend(url: str, options: BackendOptions) -> SqliteBackend:
    """Return an open backend on the file `url` names.

    Raises:
        ConfigurationError: the URL names no file, or the durability asked for cannot be had.
        StoreUnreachableError: its folder cannot be made, or it stays locked.
        StoreReadOnlyError: it cannot be written.
        CorruptDataError: it is damaged, or not a meshd store.
    """
    database = Database(raise_durability(locate(url), options.durability), options)
    await database.open()
    clear_away_all(database.bells)
    return SqliteBackend(url, database, options)
