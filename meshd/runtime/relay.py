"""The relay: messages over links between nodes, for as long as the store is away.

A node that is to send asks those it reaches who has the addressee, or reaches somebody who has; then the first on the
strongest path gets the message. Who does not answer probes is not asked. Nothing is kept on the way and nothing is sent
twice, so a message is delivered once or not at all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from meshd.errors import CorruptDataError, MeshError
from meshd.messages.codec import message_of, pack_message
from meshd.messages.model import Message
from meshd.runtime.bridge import LinkBridge
from meshd.topology.graph import strongest_path
from meshd.topology.model import Edge, Graph

WHERE, TAKE = "messages.where", "messages.take"
ASKED_AT_ONCE = 64
"""Most nodes asked for an addressee."""
TIMEOUT_MS = 1_000
HOPS = 1
"""Most nodes between sender and addressee."""
MAX_HOMES = 4_096
USUAL_WEIGHT = 0.5
"""Of an edge the topology says nothing of: no way of two hops is stronger then."""
THINNEST = 0.01
_ME, _END = "", " "

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
class Home:
    """Where a message goes next."""

    address: str
    is_there: bool
    """Whether the addressee lives there, or that node reaches where it does."""
    weight: float = USUAL_WEIGHT
    """Of the edge from that node to where it does."""


class LinkRelay:
    """Implements `meshd.messages.relaying.Relay`."""

    def __init__(self, bridge: LinkBridge, guest: Guest, *, max_bytes: int) -> None:
        self._bridge = bridge
        self._guest = guest
        self._max_bytes = max_bytes
        self._homes: OrderedDict[str, Home] = OrderedDict()

    def open(self) -> None:
        """Answer other nodes from now on."""
        self._bridge.answer(WHERE, self._tell_where)
        self._bridge.answer(TAKE, self._take)

    async def carry(self, message: Message) -> bool:
        body = pack_message(message, limit=self._max_bytes)
        return await self._carried(message.to, body, hops=HOPS)

    async def _carried(self, to: str, body: bytes, *, hops: int) -> bool:
        home = self._homes.get(to)
        if home is None or home.address in self._silent():
            home = await self._look_for(to, hops=hops)
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

    async def _look_for(self, to: str, *, hops: int) -> Home | None:
        """Return who has the addressee, else who reaches somebody who has."""
        question = _encode({"to": to, "hops": hops, "but": [self._bridge.address]})
        replies = await asyncio.gather(*[self._ask(address, question) for address in self._asked(but=())])
        found = strongest([home for home in replies if home is not None], self._weight, avoid=self._silent())
        self._remember(to, found)
        return found

    def _asked(self, *, but: Sequence[str]) -> list[str]:
        """Return whom to ask, those with the thickest edges first."""
        left_out = {*but, self._bridge.address, *self._silent()}
        others = [address for address in self._bridge.addresses if address not in left_out]
        return sorted(others, key=self._weight, reverse=True)[:ASKED_AT_ONCE]

    def _silent(self) -> frozenset[str]:
        unreached = self._bridge.unreached
        return frozenset(address for address, node in self._bridge.nodes.items() if node in unreached)

    def _weight(self, address: str) -> float:
        return self._bridge.weights.get(self._bridge.nodes.get(address, ""), USUAL_WEIGHT)

    async def _ask(self, address: str, question: bytes) -> Home | None:
        try:
            reply = await self._bridge.request(address, WHERE, question, timeout_ms=TIMEOUT_MS)
        except MeshError:
            return None
        if not _field(reply, "known"):
            return None
        return Home(address=address, is_there=_field(reply, "here"), weight=_weight_in(reply))

    async def _tell_where(self, body: bytes) -> bytes:
        question = _decode(body)
        to, hops = str(question["to"]), int(question["hops"])
        is_here = self._guest.lives_here(to)
        next_to = await self._next_to(to, but=question["but"]) if hops > 0 and not is_here else None
        weight = USUAL_WEIGHT if next_to is None else self._weight(next_to.address)
        return _encode({"here": is_here, "known": is_here or next_to is not None, "weight": weight})

    async def _next_to(self, to: str, *, but: Sequence[str]) -> Home | None:
        """Return a node that this one reaches and that has the addressee."""
        question = _encode({"to": to, "hops": 0, "but": []})
        replies = await asyncio.gather(*[self._ask(address, question) for address in self._asked(but=but)])
        found = next((home for home in replies if home is not None), None)
        self._remember(to, found)
        return found

    def _remember(self, to: str, home: Home | None) -> None:
        if home is not None:
            self._homes[to] = home
            if len(self._homes) > MAX_HOMES:
                self._homes.popitem(last=False)

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


def strongest(homes: Sequence[Home], weight: Callable[[str], float], *, avoid: frozenset[str]) -> Home | None:
    """Return the first on the strongest path to an addressee, `None` if nobody in `homes` leads there.

    `weight` is that of the edge to an address. Who is in `avoid` is passed by.
    """
    edges = [
        edge
        for home in homes
        if home.address not in avoid
        for edge in (
            Edge(
                source=_ME, target=_END if home.is_there else home.address, weight=max(THINNEST, weight(home.address))
            ),
            Edge(source=home.address, target=_END, weight=max(THINNEST, home.weight)),
        )
    ]
    agents = [_ME, _END, *(home.address for home in homes)]
    graph = Graph(agents=agents, edges=edges, homes=dict.fromkeys(agents, ""))
    path = strongest_path(graph, _ME, _END, avoid=avoid)
    if path is None:
        return None
    first = path.agents[1]
    return next(home for home in homes if (home.is_there if first == _END else home.address == first))


def _weight_in(reply: bytes) -> float:
    found: Any = _decode(reply).get("weight")
    return float(found) if isinstance(found, int | float) else USUAL_WEIGHT


def _field(reply: bytes, name: str) -> bool:
    found: Any = _decode(reply)
    return bool(found.get(name))
