"""A subscription over a connection of its own: what is published is handed over as it arrives, nobody reads for it."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import hiredis
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

QUIET_S = 10.0
"""After so long without a word from the server, it is asked whether it is there."""


class Line(asyncio.Protocol):
    """Subscriptions over a connection that the driver has opened; the driver's own calls on it are over."""

    def __init__(
        self,
        connection: AbstractConnection,
        hear: Callable[[bytes, bytes], None],
        *,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`hear` takes a channel and what was published there; `lost` is called when the line is closed."""
        self.connection = connection
        self._hear = hear
        self._lost = lost
        self._transport: asyncio.Transport = cast("Any", connection)._writer.transport  # noqa: SLF001 -- no public way
        self._reader = hiredis.Reader(replyError=broken.ResponseError)
        self._unconfirmed: deque[asyncio.Future[None]] = deque()
        self._heard_at = monotonic()
        self._asked_at = 0.0
        self._is_closed = False
        self._transport.set_protocol(self)

    async def subscribe(self, channels: list[str]) -> None:
        """Return once the server has confirmed every channel."""
        loop = asyncio.get_running_loop()
        confirmed = [loop.create_future() for _ in channels]
        self._unconfirmed += confirmed
        self._write("SUBSCRIBE", *channels)
        for each in confirmed:
            await each

    def unsubscribe(self, channels: list[str]) -> None:
        """Hear some channels no more."""
        if channels:
            self._write("UNSUBSCRIBE", *channels)

    @property
    def patience_s(self) -> float:
        """How long a listener may wait before it asks `is_sound` again."""
        return QUIET_S

    def pause(self) -> None:
        """Have the server wait with what it publishes."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Hear again."""
        if not self._is_closed:
            self._transport.resume_reading()

    def is_sound(self) -> bool:
        """Return whether the server is there, as far as is known; ask it now and then."""
        now = monotonic()
        is_unanswered = self._asked_at > self._heard_at
        if self._is_closed or (is_unanswered and now - self._asked_at > QUIET_S):
            return False
        if not is_unanswered and now - self._heard_at > QUIET_S:
            self._asked_at = now
            self._write("PING")
        return True

    def close(self) -> None:
        """Close the connection and fail what is not confirmed. Idempotent."""
        self._is_closed = True
        self._transport.abort()
        while self._unconfirmed:
            each = self._unconfirmed.popleft()
            if not each.done():
                each.set_exception(broken.ConnectionError("the server closed the connection"))
        self._lost()

    def data_received(self, data: bytes) -> None:
        self._heard_at = monotonic()
        self._reader.feed(data)
        try:
            while (message := self._reader.gets()) is not False:
                self._take(message)
        except hiredis.ProtocolError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.close()

    def _take(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.close()
        elif message[0] == b"message":
            self._hear(message[1], message[2])
        elif message[0] == b"subscribe" and self._unconfirmed:
            each = self._unconfirmed.popleft()
            if not each.done():
                each.set_result(None)

    def _write(self, *command: str) -> None:
        self._transport.write(cast("bytes", hiredis.pack_command(command)))  # type: ignore[arg-type]
