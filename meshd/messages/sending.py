"""Sending: one write that keeps the message, one hint that it came.

An inbox takes no more than its limit. How full it is is asked for rarely while there is room, and each time when there
is little: what several senders send at once may go a little over.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshd.errors import AlreadyExistsError, BackpressureError, UnavailableError
from meshd.events import EventBus
from meshd.messages.codec import Delivery, pack_message, reply_news, sealed
from meshd.messages.model import Message
from meshd.messages.places import inbox_prefix, inbox_topic, message_key
from meshd.records import RecordStore

logger = logging.getLogger(__name__)

ROOM_SHARE = 8
"""A sender uses an eighth of the room it saw before it asks again."""
MAX_UNASKED = 200
ROOM_AGE_S = 2.0
MAX_ROOMS = 4_096
RUNG_AT_ONCE = 64
MAX_NEWS = 64
"""Most replies told to one addressee by their own hints at once."""


@dataclass(slots=True)
class _Room:
    left: int
    asked_at: float


class Rings:
    """Tells addressees that something came, beside the sending; what comes for one meanwhile shares the next hint."""

    def __init__(self, events: EventBus) -> None:
        self._events = events
        self._due: dict[str, list[Mapping[str, Any]]] = {}
        self._ringing: asyncio.Task[None] | None = None

    def ring(self, to: str, news: Mapping[str, Any] | None = None) -> None:
        """Have this addressee told soon, of this news or just that something came."""
        due = self._due.setdefault(to, [])
        if news is None or len(due) >= MAX_NEWS:
            news = {}
        if news or {} not in due:
            due.append(news)
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring(), name="meshd message hints")

    async def aclose(self) -> None:
        """Return once all are told."""
        if self._ringing is not None:
            await asyncio.wait({self._ringing})

    async def _ring(self) -> None:
        while self._due:
            due, self._due = self._due, {}
            told = [(to, news) for to, all_news in due.items() for news in all_news]
            for start in range(0, len(told), RUNG_AT_ONCE):
                await asyncio.gather(*[self._tell(to, news) for to, news in told[start : start + RUNG_AT_ONCE]])

    async def _tell(self, to: str, news: Mapping[str, Any]) -> None:
        try:
            await self._events.publish(inbox_topic(to), news)
        except UnavailableError as exc:
            logger.debug("%s was not told of a message: the next look finds it (%s)", to, exc)


class Post:
    """Hands messages in. Used from one event loop."""

    def __init__(self, records: RecordStore, events: EventBus, *, max_bytes: int, inbox_limit: int) -> None:
        self._records = records
        self._max_bytes = max_bytes
        self._limit = inbox_limit
        self._rings = Rings(events)
        self._rooms: OrderedDict[str, _Room] = OrderedDict()

    async def send(self, message: Message, *, ttl_ms: int, is_given: bool) -> None:
        """Keep the message for its addressee and tell it. With an id of the sender's own, sending again is harmless.

        Raises:
            PayloadTooLargeError: the whole message is over the limit; nothing was sent.
            InvalidPayloadError: it has no JSON form.
            BackpressureError: the addressee's inbox is full.
            UnavailableError: the store is away; the message may be kept or not.
        """
        body = pack_message(message, limit=self._max_bytes)
        value = sealed(Delivery(ttl_ms=ttl_ms), body)
        await self._reserve(message.to)
        key = message_key(message.to, message.id, is_given=is_given)
        try:
            await self._records.create(key, value, ttl_ms=ttl_ms)
        except AlreadyExistsError:
            if not is_given:
                raise
        except UnavailableError as exc:
            await self._create_again(key, value, ttl_ms, exc)
        self._rings.ring(message.to, reply_news(key, body) if message.reply_to else None)

    async def aclose(self) -> None:
        """Return once every addressee is told. Idempotent."""
        await self._rings.aclose()

    async def _create_again(self, key: str, value: bytes, ttl_ms: int, error: UnavailableError) -> None:
        """Try once more after a break; what is there already is what the first try wrote."""
        if not error.retryable:
            raise error
        try:
            await self._records.create(key, value, ttl_ms=ttl_ms)
        except AlreadyExistsError:
            return

    async def _reserve(self, to: str) -> None:
        room, now = self._rooms.get(to), asyncio.get_running_loop().time()
        if room is None or room.left <= 0 or now - room.asked_at > ROOM_AGE_S:
            count = await self._records.count(inbox_prefix(to))
            if count >= self._limit:
                raise BackpressureError(
                    f"the inbox of {to!r} holds {count} messages, its limit is {self._limit}: send less, give it more "
                    "handlers, or raise messages.inbox_limit"
                )
            left = min(MAX_UNASKED, (self._limit - count) // ROOM_SHARE)
            room = self._rooms[to] = _Room(left=max(1, left), asked_at=now)
            self._rooms.move_to_end(to)
            if len(self._rooms) > MAX_ROOMS:
                self._rooms.popitem(last=False)
        room.left -= 1
