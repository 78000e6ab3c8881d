"""The feed on SQLite: a bell that rings after changes, and the change index, which says what they were."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from meshd.backends.sqlite.bells import Bell
from meshd.backends.sqlite.database import Database
from meshd.backends.sqlite.events import SqliteSubscription
from meshd.backends.sqlite.memory_book import MEMORY_TOPIC
from meshd.backends.sqlite.memory_reading import read_changes
from meshd.errors import UnavailableError
from meshd.memory.model import Change

_ITEMS = 200
_BYTES = 1_048_576
"""Most items and about how many bytes one change brings; the next brings the rest."""

_POLL_MS = 1_000
"""Longest wait for a bell before looking anyway."""


class SqliteFeed:
    """Implements `meshd.memory.store.Feed`. Follows the index without a gap, so that nothing told is ever lost."""

    def __init__(self, database: Database, subscription: SqliteSubscription) -> None:
        self._database = database
        self._subscription = subscription
        self._seen = 0
        self._wanted = 0

    async def open(self) -> None:
        """Stand at the newest revision."""
        await self._subscription.open()
        newest, self._wanted = await self._database.read(
            lambda reader: reader.connection.execute(
                "SELECT revision, wanted FROM memories WHERE mesh = ?", (reader.mesh,)
            ).fetchone()
        )
        self._seen = newest

    async def get(self, *, timeout_ms: int, known: int = 0) -> Change | None:
        del known
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_ms / 1000
        while True:
            change = await self._look()
            left_ms = (give_up_at - loop.time()) * 1000
            if change is not None or left_ms <= 0:
                return change
            await self._subscription.get(timeout_ms=max(1, int(min(left_ms, _POLL_MS))))

    async def _look(self) -> Change | None:
        seen, wanted = self._seen, self._wanted
        change, asked = await self._database.read(
            lambda reader: read_changes(reader, after=seen, limit=_ITEMS, most_bytes=_BYTES, wanted_after=wanted)
        )
        if change.revision == seen and not change.wanted:
            return None
        self._seen, self._wanted = change.revision, asked
        return change


@asynccontextmanager
async def follow(database: Database, bell: Bell) -> AsyncGenerator[SqliteFeed]:
    """Open a feed."""
    subscription = SqliteSubscription(database, bell, [MEMORY_TOPIC])
    feed = SqliteFeed(database, subscription)
    try:
        await feed.open()
        yield feed
    finally:
        with suppress(UnavailableError):
            await subscription.aclose()
