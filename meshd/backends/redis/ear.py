"""How claimers hear their bells when tasks live in many partitions: one subscription for the whole process.

A blocking pop hears one slot only, so in a mesh of several partitions scripts ring by publishing, which reaches every
server of a cluster. What is published while the subscription is broken is lost: the next poll finds the work.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import hiredis
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

from meshd.backends.redis.connection import translated
from meshd.backends.redis.link import Link

TOPIC = "bell:"
"""Topic of a bell's channel, before the bell's name."""
QUIET_S = 10.0
"""After so long without a word from the server, it is asked whether it is there."""
FORGET_S = 60.0
"""A bell whose claimer has not listened for so long is heard no more."""


class Ear:
    """Knows which partitions have rung which bell."""

    def __init__(self, link: Link) -> None:
        self.pass_on: Callable[[str, int], bool] = lambda bell, partition: False
        """Asked about every ring: whether somebody else is told, so that it need not be heard here."""
        self._link = link
        self._line: Line | None = None
        self._dialling = asyncio.Lock()
        self._heard: dict[str, set[int]] = {}
        self._listened: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    async def listen(self, bell: str) -> bool:
        """Hear this bell from now on; return whether it was heard all the time since the last call.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        was_sound = self._line is not None and self._line.is_sound()
        if not was_sound or bell not in self._listened:
            async with self._dialling:
                with translated(self._link.url):
                    async with asyncio.timeout(self._link.options.timeout_ms / 1000):
                        was_sound = await self._subscribe(bell)
        self._listened[bell] = monotonic()
        return was_sound

    def take(self, bell: str) -> frozenset[int]:
        """Return the partitions that rang this bell since the last call."""
        return frozenset(self._heard.pop(bell, ()))

    async def wait(self, bell: str, *, timeout_ms: int) -> bool:
        """Return whether the bell has rung, or rings within `timeout_ms`."""
        if bell in self._heard or timeout_ms <= 0:
            return bell in self._heard
        rings = self._waiting.setdefault(bell, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await rings.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(bell, None)
        return bell in self._heard

    async def aclose(self) -> None:
        """End the subscription and every wait. Idempotent."""
        await self._hang_up()
        for rings in self._waiting.values():
            rings.set()

    async def _subscribe(self, bell: str) -> bool:
        """Subscribe to a bell, and to all others again if the line broke; return whether this one was heard before."""
        line, was_heard = self._line, bell in self._listened
        if line is not None and line.is_sound() and was_heard:
            return False
        now = monotonic()
        old = [name for name, at in self._listened.items() if now - at > FORGET_S and name not in self._waiting]
        for name in old:
            del self._listened[name]
            self._heard.pop(name, None)
        if line is None or not line.is_sound():
            await self._hang_up()
            self._heard.clear()
            line = Line(await self._link.lend(), self._hear)
            self._line = line
            await line.subscribe([self._channel(name) for name in {*self._listened, bell}])
        else:
            line.unsubscribe([self._channel(name) for name in old])
            await line.subscribe([self._channel(bell)])
        return False

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
            await self._link.take_back(line.connection)

    def _channel(self, bell: str) -> str:
        return self._link.keys.channel(TOPIC + bell)

    def _hear(self, channel: str, partition: str) -> None:
        bell, number = channel.removeprefix(self._channel("")), int(partition.removeprefix("p"))
        if self.pass_on(bell, number):
            return
        self._heard.setdefault(bell, set()).add(number)
        waiting = self._waiting.get(bell)
        if waiting is not None:
            waiting.set()


class Line(asyncio.Protocol):
    """A subscription over a connection that the driver has opened; it hears without anybody reading."""

    def __init__(self, connection: AbstractConnection, hear: Callable[[str, str], None]) -> None:
        self.connection = connection
        self._hear = hear
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
            self._hear(message[1].decode(), message[2].decode())
        elif message[0] == b"subscribe" and self._unconfirmed:
            each = self._unconfirmed.popleft()
            if not each.done():
                each.set_result(None)

    def _write(self, *command: str) -> None:
        self._transport.write(cast("bytes", hiredis.pack_command(command)))  # type: ignore[arg-type]
