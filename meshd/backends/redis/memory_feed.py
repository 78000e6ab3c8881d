"""The feed of the memory: what the scripts publish as they change items."""

import asyncio
from collections import deque
from time import monotonic

from meshd.backends.redis import memory_scripts as scripts
from meshd.backends.redis.connection import translated
from meshd.backends.redis.line import Line
from meshd.backends.redis.link import Link
from meshd.backends.redis.memory_codec import change_of
from meshd.errors import StoreUnreachableError
from meshd.memory.model import Change

_SLACK_S = 0.005
"""How late a wait may end."""
_MOST_WAITING = 1_000
"""Changes kept for a reader; with more, the server is left to wait."""


class RedisFeed:
    """Changes over a connection of its own, opened again when it breaks."""

    def __init__(self, store: Link) -> None:
        self._store = store
        self._line: Line | None = None
        self._heard: deque[bytes] = deque()
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Wakes who waits, perhaps too early: it is set once for many messages."""
        self._generation = ""
        self._revision = 0

    async def open(self) -> None:
        """Subscribe; what was changed before is not told, though a cluster may bring it late."""
        await self._connect()
        clock = await scripts.clock(self._store)
        self._generation, self._revision = clock.generation, clock.revision

    async def get(self, *, timeout_ms: int, known: int = 0) -> Change | None:
        end = monotonic() + timeout_ms / 1000
        while True:
            while self._heard:
                change = change_of(self._next(), known=known)
                if change.generation != self._generation or change.revision > self._revision:
                    return change
            left = end - monotonic()
            if left <= 0:
                return None
            await self._wait(left)

    async def aclose(self) -> None:
        """Close the connection."""
        line, self._line = self._line, None
        self._stop_timer()
        self._heard.clear()
        self._is_paused = False
        if line is not None:
            line.close()
            await self._store.take_back(line.connection)

    async def _connect(self) -> Line:
        connection = await self._store.lend()
        line = self._line = Line(connection, self._hear, lost=self._wake)
        try:
            with translated(self._store.url):
                async with asyncio.timeout(self._store.options.timeout_ms / 1000):
                    await line.subscribe([self._store.keys.feed()])
        except TimeoutError as exc:
            await self.aclose()
            raise self._broken() from exc
        except BaseException:
            await self.aclose()
            raise
        return line

    async def _wait(self, timeout_s: float) -> None:
        """Return when something was heard, or after a while."""
        line = self._line or await self._connect()
        if not line.is_sound():
            await self.aclose()
            raise self._broken()
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        end = loop.time() + min(timeout_s, line.patience_s)
        if self._timer is None or self._timer.when() > end + _SLACK_S:
            self._stop_timer()
            self._timer = loop.call_at(end, self._time_out)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _time_out(self) -> None:
        self._timer = None
        self._wake()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hear(self, channel: bytes, message: bytes) -> None:
        del channel
        self._heard.append(message)
        if len(self._heard) >= _MOST_WAITING and not self._is_paused and self._line is not None:
            self._is_paused = True
            self._line.pause()
        self._wake()

    def _next(self) -> bytes:
        message = self._heard.popleft()
        if self._is_paused and not self._heard and self._line is not None:
            self._is_paused = False
            self._line.resume()
        return message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _broken(self) -> StoreUnreachableError:
        return StoreUnreachableError(f"redis at {self._store.url}: the feed of the memory broke off")
