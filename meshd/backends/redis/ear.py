"""How claimers hear their bells when tasks live in many partitions: one subscription for the whole process.

A blocking pop hears one slot only, so in a mesh of several partitions scripts ring by publishing, which reaches every
server of a cluster. What is published while the subscription is broken is lost: the next poll finds the work.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from meshd.backends.redis.connection import translated
from meshd.backends.redis.line import Line
from meshd.backends.redis.link import Link

TOPIC = "bell:"
"""Topic of a bell's channel, before the bell's name."""
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
        self._wake_all()

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
            line = Line(await self._link.lend(), self._hear, lost=self._wake_all)
            self._line = line
            await line.subscribe([self._channel(name) for name in {*self._listened, bell}])
        else:
            line.unsubscribe([self._channel(name) for name in old])
            await line.subscribe([self._channel(bell)])
        return False

    def _wake_all(self) -> None:
        """Have everybody look whether the line is sound."""
        for rings in self._waiting.values():
            rings.set()

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
            await self._link.take_back(line.connection)

    def _channel(self, bell: str) -> str:
        return self._link.keys.channel(TOPIC + bell)

    def _hear(self, channel: bytes, partition: bytes) -> None:
        bell, number = channel.decode().removeprefix(self._channel("")), int(partition.removeprefix(b"p"))
        if self.pass_on(bell, number):
            return
        self._heard.setdefault(bell, set()).add(number)
        waiting = self._waiting.get(bell)
        if waiting is not None:
            waiting.set()
