"""`EventBus` of a mesh with several partitions: its task log is one log a partition, read as one.

A cursor of that log has one number for each partition, joined by dots. Events are merged by the time of their append;
within a partition their order is exact, and each event is returned once, whatever comes late elsewhere.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from heapq import merge
from typing import Any

from meshd.backends.redis.events import RedisEventBus
from meshd.errors import InvalidArgumentError, LogTrimmedError
from meshd.events import START, Event, Subscription
from meshd.tasks.store import TASKS_LOG


class PartitionedEventBus:
    """The logs and hints of one mesh."""

    def __init__(self, parts: Sequence[RedisEventBus]) -> None:
        self._parts = parts
        self._common = parts[0]

    async def append(self, log: str, body: Mapping[str, Any]) -> str:
        number = await self._common.append(log, body)
        if log != TASKS_LOG:
            return number
        return _joined([number, *(await self._latest())[1:]])

    async def read(self, log: str, *, after: str = START, limit: int = 100) -> Sequence[Event]:
        if log != TASKS_LOG:
            return await self._common.read(log, after=after, limit=limit)
        place = self._place(after)
        parts = await self._read_all(place, after=after, limit=limit)
        placed = [[(at, event) for event in events] for at, events in enumerate(parts)]
        found: list[Event] = []
        for at, event in merge(*placed, key=lambda item: item[1].at_ms):
            if len(found) >= limit:
                break
            place[at] = event.cursor
            found.append(replace(event, cursor=_joined(place)))
        return found

    async def latest(self, log: str) -> str:
        if log != TASKS_LOG:
            return await self._common.latest(log)
        return _joined(await self._latest())

    async def publish(self, topic: str, body: Mapping[str, Any]) -> None:
        await self._common.publish(topic, body)

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._common.subscribe(*topics)

    async def _latest(self) -> list[str]:
        return [await part.latest(TASKS_LOG) for part in self._parts]

    async def _read_all(self, place: Sequence[str], *, after: str, limit: int) -> list[Sequence[Event]]:
        """Read every part, one after the other: a log is followed by few, and each call takes a connection."""
        found: list[Sequence[Event]] = []
        for at, (part, number) in enumerate(zip(self._parts, place, strict=True)):
            try:
                events = await part.read(TASKS_LOG, after=number, limit=limit)
            except LogTrimmedError as exc:
                raise self._trimmed(place, at, exc.oldest, after=after) from exc
            if after != START and number == START and events and int(events[0].cursor) > 1:
                raise self._trimmed(place, at, events[0].cursor, after=after)
            found.append(events)
        return found

    def _trimmed(self, place: Sequence[str], at: int, oldest: str, *, after: str) -> LogTrimmedError:
        return LogTrimmedError(TASKS_LOG, cursor=after, oldest=_joined([*place[:at], oldest, *place[at + 1 :]]))

    def _place(self, cursor: str) -> list[str]:
        if cursor == START:
            return [START] * len(self._parts)
        place = cursor.split(".")
        if len(place) != len(self._parts) or not all(number.isdecimal() for number in place):
            raise InvalidArgumentError(f"cursor {cursor!r} is not one that this event log gave")
        return place


def _joined(place: Sequence[str]) -> str:
    return START if all(number == START for number in place) else ".".join(place)
