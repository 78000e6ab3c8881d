"""One SQLite connection on one thread of its own: every call is a function that runs there, in order.

Writes are one short `BEGIN IMMEDIATE` transaction each, so two processes never deadlock; reads see the last commit and
block nobody.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from meshd.backends.port import BackendOptions
from meshd.backends.sqlite.bells import clear_away, ring
from meshd.backends.sqlite.opening import Location, connect
from meshd.backends.sqlite.patience import patiently
from meshd.backends.sqlite.transaction import Ring, Transaction
from meshd.backends.sqlite.translate import translated
from meshd.backends.sqlite.waiting import forget_bells
from meshd.clock import store_time, system_clock
from meshd.errors import StoreUnreachableError
from meshd.tasks.model import Durability

T = TypeVar("T")

_SYNC_S = 1.0


class Reader:
    """What a read gets: the connection, the mesh, and the store's time."""

    def __init__(self, connection: sqlite3.Connection, mesh: int, clock: Callable[[], int]) -> None:
        self.connection = connection
        self.mesh = mesh
        self._clock = clock

    def now_ms(self) -> int:
        """Return the store's time, never before that of the last write."""
        stored = self.connection.execute("SELECT now_ms, ahead_ms FROM meshes WHERE id = ?", (self.mesh,)).fetchone()
        return store_time(self._clock(), kept_ms=stored[0], ahead_ms=stored[1])[0]


class Database:
    """Runs functions on the store's thread and rings the bells they ask for."""

    def __init__(self, location: Location, options: BackendOptions) -> None:
        self.location = location
        self.bells = bells_folder(location.path)
        self._options = options
        self._clock = options.clock or system_clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="meshd-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._mesh = 0
        self._sync: asyncio.TimerHandle | None = None
        self._has_unsynced = False

    async def open(self) -> None:
        """Open the file; on failure nothing stays open."""
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def _open(self) -> None:
        self._connection, self._mesh = connect(self.location, self._options)

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Return what `work` reads."""
        return await self._run(lambda: self._read(work))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction: all of it is committed when this returns, or none when it raises."""
        result = await self._run(lambda: self._write(work))
        self._sync_soon()
        return result

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        if self._sync is not None:
            self._sync.cancel()
            self._sync = None
            await asyncio.get_running_loop().run_in_executor(None, self._sync_log)
        with suppress(RuntimeError):
            closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown(wait=False)
            await closing

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._thread, function)
        except RuntimeError as exc:
            raise self._closed() from exc
        return await running

    def _closed(self) -> StoreUnreachableError:
        return StoreUnreachableError(f"store {self.location.path} was closed")

    def _read(self, work: Callable[[Reader], T]) -> T:
        if self._connection is None:
            raise self._closed()
        reader = Reader(self._connection, self._mesh, self._clock)
        with translated(self.location.path):
            return patiently(lambda: work(reader), timeout_ms=self._options.timeout_ms)

    def _write(self, work: Callable[[Transaction], T]) -> T:
        connection = self._connection
        if connection is None:
            raise self._closed()
        with translated(self.location.path):
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), timeout_ms=self._options.timeout_ms)
            try:
                transaction = Transaction(connection, self._mesh, self._clock)
                result = work(transaction)
                rings = transaction.flush()
                connection.execute("COMMIT")
                self._has_unsynced |= transaction.has_changes
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._ring(rings)
        return result

    def _ring(self, rings: list[Ring]) -> None:
        """Ring; for a bell nobody hears any more, wake somebody else."""
        missed = [each for each in rings if each.bell and not ring(self.bells, each.bell, node_id=each.node_id)]
        if not missed:
            return
        silent = {each.bell for each in missed}

        def choose_again(transaction: Transaction) -> None:
            forget_bells(transaction.connection, silent)
            for each in missed:
                if each.queue is not None:
                    transaction.wake(each.queue)

        self._write(choose_again)
        for bell in silent:
            clear_away(self.bells, bell)

    def _sync_soon(self) -> None:
        """Keep D1's promise: what is committed reaches the disk within 2 seconds, although no commit waits for it."""
        if self._has_unsynced and self._sync is None and self.location.durability is Durability.D1:
            loop = asyncio.get_running_loop()
            self._sync = loop.call_later(_SYNC_S, self._sync_now, loop)

    def _sync_now(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sync = None
        loop.run_in_executor(None, self._sync_log)

    def _sync_log(self) -> None:
        # Only the log: opening the database file itself a second time would drop SQLite's locks on it.
        self._has_unsynced = False
        with suppress(OSError):
            log = os.open(f"{self.location.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(log)
            finally:
                os.close(log)


def bells_folder(path: Path) -> Path:
    """Return where the bells of a store file hang."""
    return path.with_name(f"{path.name}-bells")
