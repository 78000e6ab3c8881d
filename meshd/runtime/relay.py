"""The relay: messages over links between nodes, for as long as the store is away.

A node that is to send asks those it reaches who has the addressee, or reaches somebody who has; then one of them gets
the message. Nothing is kept on the way and nothing is sent twice, so a message is delivered once or not at all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from meshd.errors import CorruptDataError, MeshError
from meshd.messages.codec import message_of, pack_message
from meshd.messages.model import Message
from meshd.runtime.bridge import LinkBridge

WHERE, TAKE = "messages.where", "messages.take"
ASKED_AT_ONCE = 64
"""Most nodes asked for an addressee."""
TIMEOUT_MS = 1_000
HOPS = 1
"""Most nodes between sender and addressee."""
MAX_HOMES = 4_096

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Guest(Protocol):
    """Who takes what comes over links; see `NodeInbox`."""

    def lives_here(self, name: str) -> bool:
        """Return whether messages to this name are handled on this node."""
        ...

    def accept(self, message: Message) -> bool:
        """Have a message handled, once; return whether it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    address: str
    is_there: bool
    """Whether the addressee lives there, or that node reaches where it does."""


class LinkRelay:
    """Implements `meshd.messages.relaying.Relay`."""

    def __init__(self, bridge: LinkBridge, guest: Guest, *, max_bytes: int) -> None:
        self._bridge = bridge
        self._guest = guest
        self._max_bytes = max_bytes
        self._homes: OrderedDict[str, _Home] = OrderedDict()

    def open(self) -> None:
        """Answer other nodes from now on."""
        self._bridge.answer(WHERE, self._tell_where)
        self._bridge.answer(TAKE, self._take)

    async def carry(self, message: Message) -> bool:
        body = pack_message(message, limit=self._max_bytes)
        return await self._carried(message.to, body, hops=HOPS)

    async def _carried(self, to: str, body: bytes, *, hops: int) -> bool:
        home = self._homes.get(to) or await self._look_for(to, hops=hops)
        if home is None:
            return False
        head = _encode({"hops": hops - 1})
        try:
            reply = await self._bridge.request(home.address, TAKE, head + b"\n" + body, timeout_ms=TIMEOUT_MS)
        except MeshError:
            self._homes.pop(to, None)
            return False
        is_taken = _field(reply, "taken")
        if not is_taken:
            self._homes.pop(to, None)
        return is_taken

    async def _look_for(self, to: str, *, hops: int) -> _Home | None:
        """Return who has the addressee, else who reaches somebody who has."""
        others = [each for each in self._bridge.addresses if each != self._bridge.address][:ASKED_AT_ONCE]
        question = _encode({"to": to, "hops": hops, "but": [self._bridge.address]})
        replies = await asyncio.gather(*[self._ask(address, question) for address in others])
        homes = [home for home in replies if home is not None]
        found = min(homes, key=lambda home: not home.is_there, default=None)
        if found is not None:
            self._homes[to] = found
            if len(self._homes) > MAX_HOMES:
                self._homes.popitem(last=False)
        return found

    async def _ask(self, address: str, question: bytes) -> _Home | None:
        try:
            reply = await self._bridge.request(address, WHERE, question, timeout_ms=TIMEOUT_MS)
        except MeshError:
            return None
        if not _field(reply, "known"):
            return None
        return _Home(address=address, is_there=_field(reply, "here"))

    async def _tell_where(self, body: bytes) -> bytes:
        question = _decode(body)
        to, hops = str(question["to"]), int(question["hops"])
        is_here = self._guest.lives_here(to)
        is_known = is_here or (hops > 0 and await self._is_next_to(to, but=question["but"]))
        return _encode({"here": is_here, "known": is_known})

    async def _is_next_to(self, to: str, *, but: Sequence[str]) -> bool:
        """Return whether a node that this one reaches has the addressee."""
        others = [each for each in self._bridge.addresses if each not in (*but, self._bridge.address)][:ASKED_AT_ONCE]
        question = _encode({"to": to, "hops": 0, "but": []})
        replies = await asyncio.gather(*[self._ask(address, question) for address in others])
        found = next((home for home in replies if home is not None), None)
        if found is not None:
            self._homes[to] = found
        return found is not None

    async def _take(self, body: bytes) -> bytes:
        head, _, packed = body.partition(b"\n")
        try:
            message = message_of(packed, sent_ms=0, deliveries=0)
        except CorruptDataError:
            return _encode({"taken": False})
        if self._guest.lives_here(message.to):
            return _encode({"taken": self._guest.accept(message)})
        hops = int(_decode(head)["hops"])
        return _encode({"taken": hops >= 0 and await self._carried(message.to, packed, hops=hops)})


def _field(reply: bytes, name: str) -> bool:
    found: Any = _decode(reply)
    return bool(found.get(name))
