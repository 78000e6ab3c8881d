"""Requests and replies over TCP: sealed frames, each after its length in four bytes; one at a time per connection.

Invariant: nothing a stranger sends costs more than a slot for some seconds: sizes are checked before anything is read,
connections are counted, and whoever says nothing, or stops in the middle, is cut off.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress

from meshd.errors import InvalidArgumentError, MeshError, PeerUnreachableError
from meshd.peers.addresses import parts_of
from meshd.peers.links import MAX_BODY_BYTES, Answer
from meshd.peers.sealing import MAX_OVERHEAD, Kind, Seal

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
"""Most connections served at once."""
MAX_IDLE = 32
"""Most connections kept open for further requests."""
FIRST_S = 5.0
"""How long a new connection may say nothing."""
FRAME_S = 10.0
"""How long one frame may take from its first byte."""
SERVED_IDLE_S = 60.0
KEPT_IDLE_S = 20.0
"""Under `SERVED_IDLE_S`, so that a connection is not used just when the other end closes it."""
ANSWER_S = 60.0
"""Longest an answer may take to make."""
LOOKED_S = 1.0
"""How soon it is noticed that whoever asked has gone, while an answer is made."""
LARGE = 65_536
LARGE_AT_ONCE = 4
"""Most frames of `LARGE` bytes or more that are read at once."""

_DONE, _NOBODY, _FAILED = 0, 1, 2
_MAX_FRAME = MAX_BODY_BYTES + MAX_OVERHEAD + 256


class _CutError(Exception):
    """The connection ended, or sent what is no frame."""


async def _read_frame(reader: asyncio.StreamReader, *, idle_s: float, large: asyncio.Semaphore) -> bytes:
    try:
        async with asyncio.timeout(idle_s):
            head = await reader.readexactly(4)
        length = int.from_bytes(head, "big")
        if length > _MAX_FRAME:
            raise _CutError("size")
        async with asyncio.timeout(FRAME_S):
            if length < LARGE:
                return await reader.readexactly(length)
            async with large:
                return await reader.readexactly(length)
    except (TimeoutError, OSError, asyncio.IncompleteReadError) as exc:
        raise _CutError(type(exc).__name__) from exc


async def _made(answer: Answer, body: bytes, reader: asyncio.StreamReader) -> bytes:
    """Return what `answer` returns, unless whoever asked goes away, or it takes longer than `ANSWER_S`."""

    async def make() -> bytes:
        return await answer(body)

    making = asyncio.create_task(make())
    loop = asyncio.get_running_loop()
    give_up = loop.time() + ANSWER_S
    try:
        while not making.done():
            await asyncio.wait({making}, timeout=LOOKED_S)
            if not making.done() and (reader.at_eof() or loop.time() > give_up):
                raise _CutError("abandoned")
        return making.result()
    finally:
        making.cancel()


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class Requests:
    """The asking end: connections to other nodes, reused."""

    def __init__(self, seal: Seal, *, address: str) -> None:
        self._seal = seal
        self._address = address
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._idle: OrderedDict[str, _Connection] = OrderedDict()
        self._open: set[_Connection] = set()

    @property
    def connections(self) -> int:
        return len(self._open)

    async def request(self, address: str, kind: str, body: bytes, *, timeout_ms: int) -> bytes:
        """See `PeerLinks.request`."""
        if len(body) > MAX_BODY_BYTES:
            raise InvalidArgumentError(f"request of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}")
        name = kind.encode()
        if len(name) > 255:
            raise InvalidArgumentError(f"request kind {kind!r} is over the limit of 255 bytes")
        payload = bytes((len(name),)) + name + body
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                status, reply = await self._ask(address, payload, timeout_s=timeout_ms / 1000)
        except TimeoutError as exc:
            raise PeerUnreachableError(address, reason=f"no reply in {timeout_ms} ms") from exc
        except OSError as exc:
            raise PeerUnreachableError(address, reason=exc.strerror or str(exc)) from exc
        except _CutError as exc:
            raise PeerUnreachableError(address, reason="the connection was closed") from exc
        if status == _NOBODY:
            raise InvalidArgumentError(f"nobody at {address} answers requests of kind {kind!r}")
        if status == _FAILED:
            raise PeerUnreachableError(address, reason=f"its answer to {kind!r} failed")
        return reply

    async def _ask(self, address: str, payload: bytes, *, timeout_s: float) -> tuple[int, bytes]:
        connection = self._idle.pop(address, None)
        if connection is not None and connection.is_over:
            self._drop(connection)
            connection = None
        if connection is None:
            host, port = parts_of(address)
            connection = _Connection(*await asyncio.open_connection(host, port))
            self._open.add(connection)
        try:
            connection.stay()
            data, nonce = self._seal.close(Kind.REQUEST, payload, sender=self._address, receiver=address)
            connection.writer.write(_frame(data))
            await connection.writer.drain()
            frame = await _read_frame(connection.reader, idle_s=timeout_s, large=self._large)
            opened = self._seal.open(Kind.REPLY, frame, receiver=self._address)
        except BaseException:
            self._drop(connection)
            raise
        if opened is None or opened.sender != address or opened.payload[1:9] != nonce.to_bytes(8, "big"):
            self._drop(connection)
            raise _CutError("reply")
        self._keep(address, connection)
        return opened.payload[0], opened.payload[9:]

    def _keep(self, address: str, connection: "_Connection") -> None:
        if address in self._idle:
            self._drop(connection)
            return
        self._idle[address] = connection

        def close() -> None:
            if self._idle.get(address) is connection:
                del self._idle[address]
            self._drop(connection)

        connection.leave(close)
        while len(self._idle) > MAX_IDLE:
            _, oldest = self._idle.popitem(last=False)
            self._drop(oldest)

    def _drop(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close every connection; what waits for a reply on one is told that it was closed."""
        self._idle.clear()
        for connection in list(self._open):
            self._drop(connection)


class _Connection:
    """One connection to another node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    def leave(self, close: Callable[[], None]) -> None:
        """Call `close` unless `stay` comes within `KEPT_IDLE_S`."""
        self._timer = asyncio.get_running_loop().call_later(KEPT_IDLE_S, close)

    def stay(self) -> None:
        """Somebody uses it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self.stay()
        self.writer.transport.abort()


class Answers:
    """The answering end: serves whoever connects, `MAX_CONNECTIONS` at once."""

    def __init__(self, seal: Seal, *, address: str, kinds: Mapping[str, Answer]) -> None:
        self._seal = seal
        self._address = address
        self._kinds = kinds
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        return len(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until it ends."""
        task = asyncio.current_task()
        if task is None or len(self._serving) >= MAX_CONNECTIONS:
            self._seal.drop("connections")
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            await self._converse(reader, writer)
        except (_CutError, OSError, TimeoutError) as exc:
            logger.debug("a peer's connection ended: %r", exc)
        except asyncio.CancelledError:
            logger.debug("a peer's connection is closed with the links")
        except Exception:
            logger.exception("a peer's connection ended with an error of this node's own")
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        idle_s = FIRST_S
        while True:
            opened = self._seal.open(
                Kind.REQUEST, await _read_frame(reader, idle_s=idle_s, large=self._large), receiver=self._address
            )
            if opened is None:
                return
            idle_s = SERVED_IDLE_S
            length = opened.payload[0] if opened.payload else 0
            kind = opened.payload[1 : length + 1].decode(errors="replace")
            status, reply = await self._reply(kind, opened.payload[length + 1 :], reader)
            payload = bytes((status,)) + opened.nonce.to_bytes(8, "big") + reply
            data, _ = self._seal.close(Kind.REPLY, payload, sender=self._address, receiver=opened.sender)
            writer.write(_frame(data))
            async with asyncio.timeout(FRAME_S):
                await writer.drain()

    async def _reply(self, kind: str, body: bytes, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        answer = self._kinds.get(kind)
        if answer is None:
            return _NOBODY, b""
        try:
            return _DONE, await _made(answer, body, reader)
        except _CutError:
            raise
        except MeshError as exc:
            logger.warning("a request of kind %r of another node is not answered: %s", kind, exc)
        except Exception:
            logger.exception("the answer to a request of kind %r met an error of its own", kind)
        return _FAILED, b""

    async def aclose(self) -> None:
        """End every conversation."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        for task in serving:
            with suppress(asyncio.CancelledError):
                await task
