"""A lane: one connection that many calls share. Calls are written in order and answers come back in that order.

Invariant: an answer reaches the call it belongs to. A caller that goes away leaves its place in the line, so what
comes for it is dropped; a connection of which anything is in doubt is closed and fails every call on it. So does one
whose server leaves a call without an answer for longer than the lane's patience.
A `ConfirmingLane` answers a write only when replicas have it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import hiredis
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

from meshd.backends.redis.translate import UnconfirmedWriteError

Command = Sequence[str | bytes | int | float]


def _error(text: str) -> Exception:
    kind = broken.NoScriptError if text.startswith("NOSCRIPT") else broken.ResponseError
    return kind(text)


class Lane(asyncio.Protocol):
    """Calls over a connection that the driver has opened; the driver's own calls on it are over."""

    def __init__(self, connection: AbstractConnection, *, patience_s: float | None = None) -> None:
        self.connection = connection
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast("Any", connection)._writer.transport  # noqa: SLF001 -- no public way
        self._reader = hiredis.Reader(replyError=_error)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._asked: deque[float] = deque()
        """When each call that waits was made."""
        self._guard: asyncio.TimerHandle | None = None
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
        """Send a command, at once if no answer is awaited, else together with all others of this turn of the loop.

        The future yields the answer.

        Raises:
            redis.exceptions.ConnectionError: the lane is closed.
        """
        if self._is_closed:
            raise broken.ConnectionError("the connection is closed")
        packed = cast("bytes", hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._transport.write(packed)
        elif self._unsent:
            self._unsent.append(packed)
        else:
            self._unsent.append(packed)
            self._loop.call_soon(self._send)
        self._waiting.append(answer)
        if self._patience_s is not None:
            self._asked.append(self._loop.time())
            if self._guard is None:
                self._guard = self._loop.call_later(self._patience_s, self._check, self._patience_s)
        return answer

    def close(self, reason: Exception | None = None) -> None:
        """Close the connection and fail every call that has no answer yet. Idempotent."""
        self._is_closed = True
        self._unsent.clear()
        self._asked.clear()
        if self._guard is not None:
            self._guard.cancel()
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
                if self._asked:
                    self._asked.popleft()
                self._settle(self._waiting.popleft(), reply)
            if not self._waiting and self._reader.has_data():
                self.close(broken.ConnectionError("the server sent an answer that nothing asked for"))
        except hiredis.ProtocolError as exc:
            self.close(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(exc or broken.ConnectionError("the server closed the connection"))

    def _check(self, patience_s: float) -> None:
        """Close the lane if its first call had no answer in time: one timer for all calls, set once in a patience."""
        self._guard = None
        if not self._asked:
            return
        left = self._asked[0] + patience_s - self._loop.time()
        if left > 0:
            self._guard = self._loop.call_later(left, self._check, patience_s)
        else:
            self.close(broken.ConnectionError(f"the server did not answer within {patience_s:g} s"))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Who has to confirm a write."""

    replicas: int
    patience_ms: int
    """How long the server waits for them."""


class ConfirmingLane:
    """Writes on a lane of their own, each answered once enough replicas have it.

    The server holds up everything that comes behind a WAIT, so one is under way at a time: writes that come meanwhile
    go out together behind it and share the next.
    """

    def __init__(self, lane: Lane, quorum: Quorum) -> None:
        self.lane = lane
        self._quorum = quorum
        self._queue: list[tuple[Command, asyncio.Future[Any]]] = []
        self._is_waiting = False

    async def call(self, command: Command) -> Any:
        """Send a write; return its answer when it is confirmed.

        Raises:
            UnconfirmedWriteError: it is made, and too few replicas said so in time.
            redis.exceptions.RedisError: the server refused it, or the lane is closed.
        """
        confirmed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((command, confirmed))
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_soon(self._flush)
        return await confirmed

    def _flush(self) -> None:
        queue, self._queue = self._queue, []
        batch = [(command, confirmed) for command, confirmed in queue if not confirmed.done()]
        self._is_waiting = bool(batch)
        if not batch:
            return
        try:
            answers = [self.lane.call(command) for command, _ in batch]
            count = self.lane.call(("WAIT", self._quorum.replicas, self._quorum.patience_ms))
        except broken.ConnectionError as exc:
            self._is_waiting = False
            for _, confirmed in batch:
                confirmed.set_exception(broken.ConnectionError(str(exc)))
            return
        count.add_done_callback(partial(self._settle, [confirmed for _, confirmed in batch], answers))

    def _settle(
        self, batch: Sequence[asyncio.Future[Any]], answers: Sequence[asyncio.Future[Any]], count: asyncio.Future[Any]
    ) -> None:
        doubt = self._doubt(count)
        for confirmed, answer in zip(batch, answers, strict=True):
            failure = answer.exception() or doubt
            if confirmed.done():
                continue
            if failure is not None:
                confirmed.set_exception(failure)
            else:
                confirmed.set_result(answer.result())
        self._flush()

    def _doubt(self, count: asyncio.Future[Any]) -> Exception | None:
        failure = count.exception()
        if isinstance(failure, broken.ConnectionError):
            return failure
        have = 0 if failure is not None else int(count.result())
        if have >= self._quorum.replicas:
            return None
        return UnconfirmedWriteError(
            f"the write is made, but {have} of {self._quorum.replicas} replicas confirmed it within "
            f"{self._quorum.patience_ms} ms: make it again, or look at the replicas"
        )
