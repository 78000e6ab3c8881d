"""A TCP proxy in front of one server, which tests break while it runs: slow, cut, half-open, losing some answers."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

CHUNK = 65_536
DRAIN_S = 5.0
"""How long the server gets to answer a request whose answer is lost."""


class Direction(StrEnum):
    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(slots=True, kw_only=True, eq=False)
class _Pair:
    """One client's connection, and ours to the server on its behalf."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_deaf: bool = False
    """What the server says from now on is lost."""
    tail: bytes = field(default=b"")
    """End of the last request, for a marker that was cut in two."""


class Proxy:
    """Carries bytes both ways until told otherwise; the target may come and go."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self._flows = {direction: asyncio.Event() for direction in Direction}
        self._marker = b""
        self._should_cut: Callable[[], bool] = lambda: False
        self.port = 0
        self.delay_s = 0.0
        """Every chunk waits this long in each direction."""
        self.lost_answers = 0
        """Answers cut off so far."""
        self.refused = 0
        """Connections that found the target away."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def lose_answers(self, to: str = "", *, should_cut: Callable[[], bool]) -> None:
        """Deliver a request that contains `to`, but lose its answer and close its connection, if `should_cut` says so.

        The server has done what was asked. Everything else under way on that connection is lost with it.
        """
        self._marker = to.encode()
        self._should_cut = should_cut

    def lose_answer_once(self, to: str) -> None:
        """Lose the answer to the next request that contains `to`."""
        left = iter([True])
        self.lose_answers(to, should_cut=lambda: next(left, False))

    def stall(self, *directions: Direction) -> None:
        """Hold back what goes in these directions until mended; the connections stay open.

        As on a network that drops packets: nothing comes through, and what was sent may arrive very late.
        """
        for direction in directions:
            self._flows[direction].clear()

    def reset(self) -> None:
        """Close every connection under way; new ones are carried."""
        for pair in list(self._pairs):
            pair.client.transport.abort()
            pair.server.transport.abort()

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()
        await asyncio.sleep(0)

    async def mend(self) -> None:
        """Carry everything again, on the same port as before. Idempotent."""
        for flow in self._flows.values():
            flow.set()
        self._should_cut = lambda: False
        self.delay_s = 0.0
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=CHUNK)
            self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Close all and wait for the end of it."""
        await self.cut()
        for carrier in list(self._carriers):
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK)
        except OSError:
            self.refused += 1
            writer.transport.abort()
            return
        pair = _Pair(client=writer, server=to_server)
        self._pairs.add(pair)
        answers = asyncio.create_task(self._carry_answers(pair, from_server))
        requests = asyncio.create_task(self._carry_requests(pair, reader))
        for carrier in (answers, requests):
            self._carriers.add(carrier)
            carrier.add_done_callback(self._carriers.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
            if pair.is_deaf:
                await asyncio.wait({answers}, timeout=DRAIN_S)
        for carrier in (answers, requests):
            carrier.cancel()
        writer.transport.abort()
        to_server.transport.abort()
        self._pairs.discard(pair)

    async def _carry_requests(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await asyncio.sleep(self.delay_s)
                await self._flows[Direction.REQUESTS].wait()
                is_cut = self._marker in pair.tail + chunk and self._should_cut()
                pair.tail = chunk[-len(self._marker) :] if self._marker else b""
                pair.is_deaf = pair.is_deaf or is_cut
                pair.server.write(chunk)
                await pair.server.drain()
                if is_cut:
                    self.lost_answers += 1
                    pair.server.write_eof()
                    return

    async def _carry_answers(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await asyncio.sleep(self.delay_s)
                await self._flows[Direction.ANSWERS].wait()
                if not pair.is_deaf:
                    pair.client.write(chunk)
                    await pair.client.drain()


@asynccontextmanager
async def proxied(target: int) -> AsyncGenerator[Proxy]:
    """A proxy in front of the loopback port `target`, for the length of the block."""
    proxy = Proxy(target)
    await proxy.mend()
    try:
        yield proxy
    finally:
        await proxy.aclose()
