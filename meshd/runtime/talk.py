"""What members of one working group say to each other while they work.

Each message is kept until the member's process has it, and handed to its work once. What comes for a part that has not
begun yet waits for it; what comes for one that is over is dropped with it.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Any

from meshd.messages.model import Message
from meshd.runtime.signals import Reject

TALK = "group_talk"
"""Message type of what members say to each other."""
MAX_PARTS = 1_000
"""Most parts something waits for here; of more, what waits for the one that was asked after least lately is dropped."""
MAX_WAITING = 1_000
"""Most messages that wait for one part; a sender of more is told so."""

_Part = tuple[str, str]
"""Announcement and agent."""


class _Heard:
    """What one part has been told and has not taken yet."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[Any]] = {}
        self.news = asyncio.Event()
        self.readers = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.waiting.values()))


class Talk:
    """All that is said to the agents of one node within their groups."""

    def __init__(self) -> None:
        self._parts: OrderedDict[_Part, _Heard] = OrderedDict()

    async def hear(self, message: Message) -> None:
        """Keep a message for the part it is meant for.

        Raises:
            Reject: it names no part, or so many wait for that part already.
        """
        match message.payload:
            case {"announcement": str(announcement), "kind": str(kind), "payload": payload}:
                heard = self._part((announcement, message.to))
            case _:
                raise Reject(f"a {TALK} message names an announcement, a kind and a payload")
        if heard.count >= MAX_WAITING:
            raise Reject(f"{MAX_WAITING} messages wait for {message.to} in the group of {announcement} already")
        heard.waiting.setdefault(kind, deque()).append(payload)
        heard.news.set()

    async def next(self, announcement: str, agent: str, kind: str) -> Any:
        """Return the oldest message of a kind that this part has not taken yet, once there is one."""
        heard = self._part((announcement, agent))
        heard.readers += 1
        try:
            while not heard.waiting.get(kind):
                heard.news.clear()
                await heard.news.wait()
        finally:
            heard.readers -= 1
        return heard.waiting[kind].popleft()

    def forget(self, announcement: str, agent: str) -> None:
        """Drop what nobody took: the part is over."""
        self._parts.pop((announcement, agent), None)

    def _part(self, part: _Part) -> _Heard:
        heard = self._parts.setdefault(part, _Heard())
        self._parts.move_to_end(part)
        if len(self._parts) > MAX_PARTS:
            idle = (each for each, kept in self._parts.items() if not kept.readers and each != part)
            self._parts.pop(next(idle, part))
        return heard
