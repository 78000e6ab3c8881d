"""A store in memory, for tests on virtual time: records and events of one mesh, held to the conformance suite.

Calls return without letting anything else happen. `on_write` is told of every change to a record as it is made, and
`deliver` takes each hint to each subscription.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from meshd.clock import Clock
from meshd.errors import (
    AlreadyExistsError,
    FencedError,
    InvalidArgumentError,
    LogTrimmedError,
    NoRoomError,
    NotFoundError,
    RevisionMismatchError,
    StoreUnreachableError,
)
from meshd.events import LOG_CAPACITY, START, Event, Hint, Subscription
from meshd.records import Guard, Record, Room, check_record


class MemoryRecords:
    """Implements `meshd.records.RecordStore`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._keys: list[str] = []
        self._revision = 0
        self.is_careless = False
        """Whether a write is taken whatever it was made after, as no store should."""
        self.on_write: Callable[[str, Record | None, Record | None], None] = lambda key, before, after: None

    def peek(self, key: str) -> Record | None:
        """Return the record, without being a process of the mesh."""
        record = self._records.get(key)
        now_ms = self._clock()
        if record is None or (record.expires_ms is not None and record.expires_ms <= now_ms):
            return None
        return replace(record, read_ms=now_ms)

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin so and live, in order."""
        return [key for key in self._range(prefix) if self.peek(key) is not None]

    async def get(self, key: str) -> Record | None:
        return self.peek(key)

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None, guard: Guard | None = None) -> int:
        check_record(key, value)
        self._check(guard)
        return self._write(key, value, ttl_ms, self.peek(key))

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        guard: Guard | None = None,
        room: Room | None = None,
    ) -> int:
        check_record(key, value)
        self._check(guard)
        if self.peek(key) is not None:
            raise AlreadyExistsError(f"record {key!r} exists already")
        if room is not None and len(self.keys(room.prefix)) >= room.most:
            raise NoRoomError(room.prefix, most=room.most)
        return self._write(key, value, ttl_ms, None)

    async def update(
        self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None, guard: Guard | None = None
    ) -> int:
        check_record(key, value)
        self._check(guard)
        before = self._expected(key, revision)
        if before is None:
            raise NotFoundError(f"no record {key!r}")
        return self._write(key, value, ttl_ms, before)

    async def delete(self, key: str, *, revision: int | None = None, guard: Guard | None = None) -> bool:
        self._check(guard)
        before = self._expected(key, revision)
        if before is None:
            return False
        del self._records[key]
        del self._keys[bisect_left(self._keys, key)]
        self.on_write(key, before, None)
        return True

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        found: list[Record] = []
        for key in self._range(prefix, after=after):
            record = self.peek(key)
            if record is not None and len(found) < limit:
                found.append(record)
        return found

    async def count(self, prefix: str) -> int:
        return len(self._range(prefix))

    def _range(self, prefix: str, *, after: str = "") -> Sequence[str]:
        first = last = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        while last < len(self._keys) and self._keys[last].startswith(prefix):
            last += 1
        return self._keys[first:last]

    def _check(self, guard: Guard | None) -> None:
        if guard is None:
            return
        found = self.peek(guard.key)
        if found is None or found.born != guard.born:
            raise FencedError(f"record {guard.key!r}", token=guard.born, current=0 if found is None else found.born)

    def _expected(self, key: str, revision: int | None) -> Record | None:
        before = self.peek(key)
        if before is not None and revision not in (None, before.revision) and not self.is_careless:
            raise RevisionMismatchError(key, expected=revision or 0, current=before.revision)
        return before

    def _write(self, key: str, value: bytes, ttl_ms: int | None, before: Record | None) -> int:
        now_ms = self._clock()
        self._revision = max(self._revision + 1, now_ms * 1_000)
        after = Record(
            key=key,
            value=bytes(value),
            revision=self._revision,
            born=self._revision if before is None else before.born,
            born_ms=now_ms if before is None else before.born_ms,
            read_ms=now_ms,
            expires_ms=None if ttl_ms is None else now_ms + ttl_ms,
        )
        if key not in self._records:
            insort(self._keys, key)
        self._records[key] = after
        self.on_write(key, before, after)
        return self._revision


class MemorySubscription:
    """Implements `meshd.events.Subscription`."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = frozenset(topics)
        self._heard = deque[Hint]()
        self._rung = asyncio.Event()
        self._is_broken = False

    def hear(self, hint: Hint) -> None:
        self._heard.append(hint)
        self._rung.set()

    def break_off(self) -> None:
        """The connection is gone, with whatever was under way."""
        self._is_broken = True
        self._rung.set()

    async def get(self, *, timeout_ms: int) -> Hint | None:
        if not self._heard and not self._is_broken:
            self._rung.clear()
            try:
                async with asyncio.timeout(timeout_ms / 1_000):
                    await self._rung.wait()
            except TimeoutError:
                return None
        if self._is_broken:
            raise StoreUnreachableError("the subscription has broken off")
        return self._heard.popleft()


@dataclass(slots=True, kw_only=True)
class _Log:
    events: deque[Event]
    newest: int = 0


class MemoryEvents:
    """Implements `meshd.events.EventBus`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logs: dict[str, _Log] = {}
        self.subscriptions: dict[MemorySubscription, None] = {}
        self.deliver: Callable[[MemorySubscription, Hint], None] = lambda subscription, hint: subscription.hear(hint)

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        kept = self._logs.setdefault(log, _Log(events=deque(maxlen=LOG_CAPACITY)))
        kept.newest += 1
        kept.events.append(Event(log=log, cursor=str(kept.newest), at_ms=self._clock(), body=_travelled(body)))
        await self.publish(log, body)
        return str(kept.newest)

    async def read(self, log: str, *, after: str = START, limit: int = 100) -> Sequence[Event]:
        if not after.isascii() or not after.isdigit():
            raise InvalidArgumentError(f"event cursor {after!r} was not given out by this store")
        kept = self._logs.get(log)
        if kept is None:
            return []
        trimmed = kept.newest - len(kept.events)
        if 0 < int(after) < trimmed:
            raise LogTrimmedError(log, cursor=after, oldest=str(trimmed + 1))
        first = max(0, int(after) - trimmed)
        return [kept.events[place] for place in range(first, min(first + limit, len(kept.events)))]

    async def latest(self, log: str) -> str:
        return str(self._logs[log].newest) if log in self._logs else START

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        sent = msgspec.json.encode(body)
        for subscription in list(self.subscriptions):
            if topic in subscription.topics:
                self.deliver(subscription, Hint(topic=topic, body=msgspec.json.decode(sent)))

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self.subscribed(topics)

    @asynccontextmanager
    async def subscribed(self, topics: Sequence[str]) -> AsyncGenerator[MemorySubscription]:
        subscription = MemorySubscription(topics)
        self.subscriptions[subscription] = None
        try:
            yield subscription
        finally:
            self.subscriptions.pop(subscription, None)


class MemoryStore:
    """The two ports on one mesh."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.records = MemoryRecords(clock)
        self.events = MemoryEvents(clock)


def _travelled(body: Mapping[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body))
