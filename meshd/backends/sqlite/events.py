"""The event port on SQLite: logs are rows with dense cursors; hints are rows that a bell announces."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import msgspec

from meshd.backends.sqlite.bells import Bell, wait_until_set
from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.logs import append_events
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import InvalidArgumentError, LogTrimmedError, StoreUnreachableError, UnavailableError
from meshd.events import START, Event, Hint, Subscription
from meshd.ids import new_id

_POLL_MS = 1_000
"""Longest wait for a bell before looking anyway."""

_HINTS_READ = 500


class SqliteEventBus:
    """Implements `meshd.events.EventBus`."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        encoded = msgspec.json.encode(body)

        def append(transaction: Transaction) -> int:
            transaction.publish(log, body)
            return append_events(
                transaction.connection, mesh=transaction.mesh, log=log, at_ms=transaction.now_ms, bodies=[encoded]
            )

        return str(await self._database.write(append))

    async def read(self, log: str, *, after: str = START, limit: int = 100) -> Sequence[Event]:
        place = _place(after)
        return await self._database.read(lambda reader: _read(reader, log, place, limit))

    async def latest(self, log: str) -> str:
        return await self._database.read(lambda reader: str(_bounds(reader, log)[0]))

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        await self._database.write(lambda transaction: transaction.publish(topic, body))

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._subscribe(topics)

    @asynccontextmanager
    async def _subscribe(self, topics: Sequence[str]) -> AsyncGenerator[Subscription]:
        subscription = SqliteSubscription(self._database, self._bell, topics)
        try:
            await subscription.open()
            yield subscription
        finally:
            with suppress(UnavailableError):
                await subscription.aclose()


class SqliteSubscription:
    """Implements `meshd.events.Subscription`."""

    def __init__(self, database: Database, bell: Bell, topics: Sequence[str]) -> None:
        self._database = database
        self._bell = bell
        self._topics = tuple(dict.fromkeys(topics))
        self._id = new_id()
        self._rung = bell.listen()
        self._seen = 0
        self._heard: deque[Hint] = deque()

    async def open(self) -> None:
        """Have hints kept for this subscription from now on."""
        self._seen = await self._register()

    async def aclose(self) -> None:
        self._bell.ignore(self._rung)
        await self._database.write(self._forget)

    async def get(self, *, timeout_ms: int) -> Hint | None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_ms / 1000
        while not self._heard:
            self._rung.clear()
            await self._look()
            left_ms = (give_up_at - loop.time()) * 1000
            if self._heard or left_ms <= 0:
                break
            await wait_until_set(self._rung, timeout_ms=min(left_ms, _POLL_MS))
        return self._heard.popleft() if self._heard else None

    async def _look(self) -> None:
        """Read what was published since the last look; register anew if somebody took this one for dead."""
        if self._bell.closed:
            raise StoreUnreachableError("the subscription's store was closed")
        bell = self._bell.hang()
        registered, hints = await self._database.read(lambda reader: self._read(reader, bell))
        for seq, topic, body in hints:
            self._seen = seq
            self._heard.append(Hint(topic=topic, body=msgspec.json.decode(body)))
        if not registered:
            await self._register()

    def _read(self, reader: Reader, bell: str) -> tuple[bool, list[tuple[int, str, bytes]]]:
        topics = array(self._topics)
        registered = reader.connection.execute(
            "SELECT count(*) FROM subscribers WHERE mesh = ? AND topic IN (SELECT value FROM json_each(?))"
            " AND bell = ? AND subscription = ?",
            (reader.mesh, topics, bell, self._id),
        ).fetchone()
        hints = reader.connection.execute(
            "SELECT seq, topic, body FROM hints WHERE mesh = ? AND topic IN (SELECT value FROM json_each(?))"
            " AND seq > ? ORDER BY seq LIMIT ?",
            (reader.mesh, topics, self._seen, _HINTS_READ),
        ).fetchall()
        return registered[0] == len(self._topics), hints

    async def _register(self) -> int:
        bell = self._bell.hang()

        def register(transaction: Transaction) -> int:
            self._forget(transaction)
            execute_rows(
                transaction.connection,
                "INSERT INTO subscribers (mesh, topic, bell, subscription) VALUES {rows}",
                [(transaction.mesh, topic, bell, self._id) for topic in self._topics],
            )
            row = transaction.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'hints'").fetchone()
            return row[0] if row else 0

        return await self._database.write(register)

    def _forget(self, transaction: Transaction) -> None:
        transaction.connection.execute(
            "DELETE FROM subscribers WHERE mesh = ? AND topic IN (SELECT value FROM json_each(?)) AND subscription = ?",
            (transaction.mesh, array(self._topics), self._id),
        )


def _place(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit():
        raise InvalidArgumentError(f"event cursor {cursor!r} was not given out by this store")
    return int(cursor)


def _bounds(reader: Reader, log: str) -> tuple[int, int]:
    """Return the cursor of the newest event, and of the last one trimmed."""
    row = reader.connection.execute(
        "SELECT newest, trimmed FROM logs WHERE mesh = ? AND name = ?", (reader.mesh, log)
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _read(reader: Reader, log: str, after: int, limit: int) -> list[Event]:
    rows = reader.connection.execute(
        "SELECT cursor, at_ms, body FROM events WHERE mesh = ? AND log = ? AND cursor > ? ORDER BY cursor LIMIT ?",
        (reader.mesh, log, after, limit),
    ).fetchall()
    # Read second: whatever is trimmed meanwhile is still noticed.
    _, trimmed = _bounds(reader, log)
    if 0 < after < trimmed:
        raise LogTrimmedError(log, cursor=str(after), oldest=str(trimmed + 1))
    return [
        Event(log=log, cursor=str(cursor), at_ms=at_ms, body=msgspec.json.decode(body)) for cursor, at_ms, body in rows
    ]
