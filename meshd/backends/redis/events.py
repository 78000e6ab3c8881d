"""`EventBus` on Redis: logs are streams, hints are pub/sub.

An entry of a log has as its id the number of its last event. A script that makes many transitions writes them as one
entry, a line each; a cursor is the number of one event, so a reader can stop and resume inside an entry.
"""

from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio.connection import AbstractConnection

from meshd.backends.redis.connection import read_already, read_within, translated
from meshd.backends.redis.event_lines import transitions
from meshd.backends.redis.link import Link
from meshd.errors import CorruptDataError, InvalidArgumentError, LogTrimmedError
from meshd.events import START, Event, Hint, Subscription

ENTRIES_PER_STEP = 32
"""Most entries read at once; one may hold 256 transitions."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class RedisEventBus:
    """The logs and hints of one mesh."""

    def __init__(self, connection: Link) -> None:
        self._store = connection

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        key = self._store.keys.clock(self._store.keys.partition_of(log))
        number = await self._store.run("event_append", key=key, args=(log, _encode(body)), retry=False)
        return str(int(number))

    async def read(self, log: str, *, after: str = START, limit: int = 100) -> Sequence[Event]:
        done = _number(after)
        found: list[Event] = []
        while len(found) < limit:
            step = min(limit - len(found), ENTRIES_PER_STEP)
            entries = await self._store.command("XRANGE", self._store.keys.log(log), f"({done}", "+", "COUNT", step)
            events = [event for entry in entries for event in _events(log, entry)]
            if not events:
                if done > int(await self.latest(log)):
                    # The store went back behind the cursor: what comes next has numbers that were given out before.
                    raise LogTrimmedError(log, cursor=after, oldest=START)
                break
            oldest = int(events[0].cursor)
            if oldest > done + 1 and (found or after != START):
                raise LogTrimmedError(log, cursor=after, oldest=str(oldest))
            found += [event for event in events if int(event.cursor) > done]
            done = int(events[-1].cursor)
            if len(entries) < step:
                break
        return found[:limit]

    async def latest(self, log: str) -> str:
        counter = "events" if log == "tasks" else f"events:{log}"
        number = await self._store.command("HGET", self._store.keys.clock(self._store.keys.partition_of(log)), counter)
        return number.decode() if number else START

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        await self._store.peek("PUBLISH", self._store.keys.channel(topic), _encode(body), retry=False)

    @asynccontextmanager
    async def subscribe(self, *topics: str) -> AsyncGenerator[Subscription]:
        subscription = RedisSubscription(self._store, topics)
        try:
            await subscription.connect()
            yield subscription
        finally:
            await subscription.aclose()


class RedisSubscription:
    """Hints of some topics over a connection of its own, opened again when it breaks."""

    def __init__(self, store: Link, topics: Sequence[str]) -> None:
        self._store = store
        self._topics = {store.keys.channel(topic).encode(): topic for topic in topics}
        self._connection: AbstractConnection | None = None
        self._hints: deque[Hint] = deque()

    async def connect(self) -> None:
        """Subscribe, and return once the server confirmed every topic."""
        if self._connection is not None or not self._topics:
            return
        connection = await self._store.lend()
        try:
            with translated(self._store.url):
                await connection.send_command("SUBSCRIBE", *self._topics)
            with translated(self._store.url):
                for _ in self._topics:
                    self._take(await connection.read_response())
        except BaseException:
            await self._store.take_back(connection)
            raise
        self._connection = connection

    async def get(self, *, timeout_ms: int) -> Hint | None:
        if not self._hints:
            await self._listen(timeout_ms)
        return self._hints.popleft() if self._hints else None

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._store.take_back(connection)

    async def _listen(self, timeout_ms: int) -> None:
        await self.connect()
        connection = self._connection
        if connection is None:
            return
        try:
            with translated(self._store.url):
                self._take(await read_within(connection, timeout_ms / 1000))
                for message in read_already(connection):
                    self._take(message)
        except BaseException:
            await self.aclose()
            raise

    def _take(self, message: Any) -> None:
        if message is None or message[0] != b"message":
            return
        topic = self._topics[message[1]]
        body = _parsed(topic, message[2])
        bodies: Sequence[Any] = body if message[2].startswith(b"[") else [body]
        self._hints.extend(Hint(topic=topic, body=each) for each in bodies)


def _number(cursor: str) -> int:
    if not cursor.isdecimal():
        raise InvalidArgumentError(f"cursor {cursor!r} is not one that an event log gave")
    return int(cursor)


def _events(log: str, entry: tuple[bytes, dict[bytes, bytes]]) -> list[Event]:
    entry_id, fields = entry
    last = int(entry_id.partition(b"-")[0])
    at_ms = int(fields[b"at"])
    bodies = transitions(fields[b"t"]) if b"t" in fields else [_parsed(log, fields[b"b"])]
    first = last - len(bodies) + 1
    return [
        Event(log=log, cursor=str(number), at_ms=at_ms, body=body) for number, body in enumerate(bodies, start=first)
    ]


def _parsed(source: str, body: bytes) -> Any:
    try:
        return _decode(body)
    except msgspec.DecodeError as exc:
        raise CorruptDataError(f"a message of {source!r} is not JSON: {exc}") from exc
