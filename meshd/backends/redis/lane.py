"""A lane: one connection that many calls share. Calls are written in order and answers come back in that order.

Invariant: an answer reaches the call it belongs to. A caller that goes away leaves its place in the line, so what
comes for it is dropped; a connection of which anything is in doubt is closed and fails every call on it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

Command = Sequence[str | bytes | int | float]


def _error(text: str) -> Exception:
    kind = broken.NoScriptError if text.startswith("NOSCRIPT") else broken.ResponseError
    return kind(text)


class Lane(asyncio.Protocol):
    """Calls over a connection that the driver has opened; the driver's own calls on it are over."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast("Any", connection)._writer.transport  # noqa: SLF001 -- no public way
        self._reader = hiredis.Reader(replyError=_error)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._is_closed = False
        self._transport.set_protocol(self)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_idle(self) -> bool:
        """Whether every call has had its answer."""
        return not self._waiting and not self._is_closed

    def call(self, command: Command) -> asyncio.Future[Any]:
        """Send a command, together with all others of this turn of the loop; the future yields the answer.

        Raises:
            redis.exceptions.ConnectionError: the lane is closed.
        """
        if self._is_closed:
            raise broken.ConnectionError("the connection is closed")
        packed = cast("bytes", hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(answer)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        return answer

    def close(self, reason: Exception | None = None) -> None:
        """Close the connection and fail every call that has no answer yet. Idempotent."""
        self._is_closed = True
        self._unsent.clear()
        self._transport.abort()
        failure = str(reason) if reason is not None else "the connection was closed"
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(broken.ConnectionError(failure))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while self._waiting and (reply := self._reader.gets()) is not False:
                self._settle(self._waiting.popleft(), reply)
            if not self._waiting and self._reader.has_data():
                self.close(broken.ConnectionError("the server sent an answer that nothing asked for"))
        except hiredis.ProtocolError as exc:
            self.close(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(exc or broken.ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        if self._unsent:
            data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
            self._unsent.clear()
            self._transport.write(data)

    def _settle(self, answer: asyncio.Future[Any], reply: Any) -> None:
        if answer.done():
            return
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
