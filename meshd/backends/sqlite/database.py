"""One SQLite connection on one thread of its own: every call is a function that runs there, in order.

Small writes of a file's only process are done where they are asked for while that thread is idle: in the same order.

Writes are one short `BEGIN IMMEDIATE` transaction each, so two processes never deadlock; reads see the last commit and
block nobody.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

from meshd.backends.port import BackendOptions
from meshd.backends.sqlite.bells import clear_away, ring
from meshd.backends.sqlite.checkpoints import LOG_PAGES, Checkpoints
from meshd.backends.sqlite.known import Known
from meshd.backends.sqlite.opening import Location, connect
from meshd.backends.sqlite.patience import patiently
from meshd.backends.sqlite.thread import WorkerThread
from meshd.backends.sqlite.transaction import Ring, Transaction
from meshd.backends.sqlite.translate import translated
from meshd.backends.sqlite.waiting import forget_bells
from meshd.clock import store_time, system_clock
from meshd.errors import StoreUnreachableError
from meshd.tasks.model import Durability

T = TypeVar("T")

_SYNC_S = 1.0
_LONG_S = 0.02
_WARY_S = 1.0
"""After a write at once that took long, others go by the thread for so long."""


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

    def __init__(self, location: Location, options: BackendOptions, *, is_alone: bool = False) -> None:
        """`is_alone`: nobody else writes the file, so what was written need not be read again."""
        self.location = location
        self.bells = bells_folder(location.path)
        self._options = options
        self._clock = options.clock or system_clock
        self._is_alone = is_alone
        self._known: Known | None = None
        self._checkpoints = Checkpoints(location.path)
        self._changes = 0
        self._is_syncing = False
        self._is_at_once = False
        """Not while the log is moved, nor for the first write after that, which waits for the disk."""
        self._wary_until = 0.0
        self._under_way = 0
        """Calls whose answer is on its way from the thread."""
        self._thread = WorkerThread("meshd-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._mesh = 0
        self._sync: asyncio.TimerHandle | None = None
        self._has_unsynced = False

    async def open(self) -> None:
        """Open the file; on failure nothing stays open."""
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.close()
            raise

    def _open(self) -> None:
        self._connection, self._mesh = connect(self.location, self._options, one_thread=not self._is_alone)
        if self._is_alone and self.location.durability is Durability.D1:
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")

    async def read(self, work: Callable[[Reader], T], *, is_small: bool = False) -> T:
        """Return what `work` reads; `is_small`: it takes a fraction of a millisecond, and may be done at once."""
        if is_small and self._is_free:
            return self._read(work)
        return await self._run(lambda: self._read(work))

    async def write(self, work: Callable[[Transaction], T], *, is_small: bool = False) -> T:
        """Run `work` in one transaction: all of it is committed when this returns, or none when it raises.

        `is_small`: it takes a fraction of a millisecond and may be repeated. Where no commit waits for the disk nor for
        another process, it is done at once: a way to the thread and back costs as much as the work.
        """
        if is_small and self._is_free:
            # Who holds the file, against the rule, is waited for on the thread.
            with suppress(StoreUnreachableError):
                return self._write_at_once(work)
        may_go_on = self._is_alone and self.location.durability is Durability.D1 and not self._is_syncing
        result = await self._run(lambda: self._write(work))
        self._is_at_once = may_go_on and not self._is_syncing and monotonic() >= self._wary_until
        self._sync_soon()
        return result

    @property
    def _is_free(self) -> bool:
        """Whether something small may be done by whoever asks for it.

        Not before everybody who waited for the thread has gone on: answers are acted on in the order of the commits.
        """
        is_quiet = self._thread.is_idle and not self._under_way
        return is_quiet and self._is_at_once and not self._checkpoints.is_long

    def _write_at_once(self, work: Callable[[Transaction], T]) -> T:
        """Write here, and stay away from here for a while if that took long: the disk is slow."""
        began = monotonic()
        result = self._write(work, timeout_ms=0)
        ended = monotonic()
        if ended - began > _LONG_S:
            self._is_at_once, self._wary_until = False, ended + _WARY_S
        self._sync_soon()
        return result

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        if self._sync is not None:
            self._sync.cancel()
            self._sync = None
            await asyncio.get_running_loop().run_in_executor(None, self._sync_log)
        with suppress(RuntimeError):
            closing = self._thread.run(self._close)
            self._thread.close()
            await closing

    def _close(self) -> None:
        self._checkpoints.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            running = self._thread.run(function)
        except RuntimeError as exc:
            raise self._closed() from exc
        self._under_way += 1
        try:
            return await running
        finally:
            self._under_way -= 1

    def _closed(self) -> StoreUnreachableError:
        return StoreUnreachableError(f"store {self.location.path} was closed")

    def _read(self, work: Callable[[Reader], T]) -> T:
        if self._connection is None:
            raise self._closed()
        reader = Reader(self._connection, self._mesh, self._clock)
        with translated(self.location.path):
            return patiently(lambda: work(reader), timeout_ms=self._options.timeout_ms)

    def _write(self, work: Callable[[Transaction], T], *, timeout_ms: int | None = None) -> T:
        connection = self._connection
        if connection is None:
            raise self._closed()
        with translated(self.location.path):
            patience = self._options.timeout_ms if timeout_ms is None else timeout_ms
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), timeout_ms=patience)
            try:
                transaction = Transaction(connection, self._mesh, self._clock, known=self._known)
                result = work(transaction)
                rings = transaction.flush()
                connection.execute("COMMIT")
                self._has_unsynced |= transaction.has_changes
                self._changes = connection.total_changes
                if self._is_alone and transaction.learned is not None:
                    self._known = transaction.learned
            except BaseException:
                self._known = None
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
        self._is_syncing, self._is_at_once = True, False
        loop.run_in_executor(None, self._sync_log).add_done_callback(self._synced)

    def _synced(self, _: "asyncio.Future[None]") -> None:
        self._is_syncing = False

    def _sync_log(self) -> None:
        # Only the log: opening the database file itself a second time would drop SQLite's locks on it.
        self._has_unsynced = False
        with suppress(OSError):
            log = os.open(f"{self.location.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(log)
            finally:
                os.close(log)
        if self._is_alone:
            with suppress(sqlite3.Error):
                self._checkpoints.move(changes=self._changes)


def bells_folder(path: Path) -> Path:
    """Return where the bells of a store file hang."""
    return path.with_name(f"{path.name}-bells")
