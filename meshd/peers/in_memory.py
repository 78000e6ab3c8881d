"""Links without a network: for simulations on virtual time, with delay, loss and cuts, the same for the same seed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from meshd.errors import InvalidArgumentError, PeerUnreachableError
from meshd.peers.links import MAX_BODY_BYTES, MAX_DATAGRAM_BYTES, Answer, OnDatagram

Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds: `loop.call_later`, or a simulator's own."""


@dataclass(slots=True, kw_only=True)
class Weather:
    """What happens to everything sent."""

    delay_ms: float = 1.0
    """Mean time of one way."""
    jitter_ms: float = 0.0
    """Most that one way takes more or less, evenly."""
    loss: float = 0.0
    """Share of datagrams that get lost; a request only takes longer."""


@dataclass(slots=True)
class Network:
    """All links of one simulated mesh."""

    later: Later
    rng: Random
    weather: Weather = field(default_factory=Weather)
    datagrams: int = 0
    """Sent since the start, lost ones too."""
    sent_bytes: int = 0
    _cuts: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _links: dict[str, "InMemoryLinks"] = field(default_factory=dict[str, "InMemoryLinks"])

    def links(self, address: str) -> "InMemoryLinks":
        """Return new links under this address, which belongs to them from now on."""
        made = self._links[address] = InMemoryLinks(self, address)
        return made

    def cut(self, source: str, target: str) -> None:
        """Let nothing through from `source` to `target`, in this direction."""
        self._cuts.add((source, target))

    def cut_both(self, one: str, other: str) -> None:
        self._cuts |= {(one, other), (other, one)}

    def heal(self, source: str, target: str) -> None:
        """End a cut, in this direction."""
        self._cuts.discard((source, target))

    def is_open(self, source: str, target: str) -> bool:
        return target in self._links and (source, target) not in self._cuts

    def target(self, address: str) -> "InMemoryLinks | None":
        return self._links.get(address)

    def remove(self, links: "InMemoryLinks") -> None:
        if self._links.get(links.address) is links:
            del self._links[links.address]

    def way_s(self) -> float:
        """Return how long the next thing takes, one way."""
        weather = self.weather
        return (
            max(0.0, self.rng.uniform(weather.delay_ms - weather.jitter_ms, weather.delay_ms + weather.jitter_ms))
            / 1000
        )

    def carry(self, source: str, target: str, payload: bytes) -> None:
        self.datagrams += 1
        self.sent_bytes += len(payload)
        if self.rng.random() < self.weather.loss or not self.is_open(source, target):
            return
        self.later(self.way_s(), lambda: self._arrive(source, target, payload))

    def _arrive(self, source: str, target: str, payload: bytes) -> None:
        links = self._links.get(target)
        if links is not None:
            links.arrived(source, payload)


class InMemoryLinks:
    """Implements `PeerLinks` over a `Network`."""

    def __init__(self, network: Network, address: str) -> None:
        self._network = network
        self._address = address
        self._on_datagram: OnDatagram | None = None
        self._answers: dict[str, Answer] = {}

    @property
    def address(self) -> str:
        return self._address

    def send(self, address: str, payload: bytes) -> None:
        if len(payload) > MAX_DATAGRAM_BYTES:
            raise InvalidArgumentError(f"datagram of {len(payload)} bytes is over the limit of {MAX_DATAGRAM_BYTES}")
        self._network.carry(self._address, address, payload)

    def listen(self, on_datagram: OnDatagram) -> None:
        self._on_datagram = on_datagram

    def arrived(self, source: str, payload: bytes) -> None:
        if self._on_datagram is not None:
            self._on_datagram(source, payload)

    async def request(self, address: str, kind: str, body: bytes, *, timeout_ms: int) -> bytes:
        if len(body) > MAX_BODY_BYTES:
            raise InvalidArgumentError(f"request of {len(body)} bytes is over the limit of {MAX_BODY_BYTES}")
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._asked(address, kind, body)
        except TimeoutError as exc:
            raise PeerUnreachableError(address, reason=f"no reply in {timeout_ms} ms") from exc

    async def _asked(self, address: str, kind: str, body: bytes) -> bytes:
        await asyncio.sleep(self._network.way_s())
        if not self._network.is_open(self._address, address):
            await asyncio.Event().wait()
        reply = await self._of(address).answered(kind, body)
        await asyncio.sleep(self._network.way_s())
        if not self._network.is_open(address, self._address):
            await asyncio.Event().wait()
        return reply

    def _of(self, address: str) -> "InMemoryLinks":
        links = self._network.target(address)
        if links is None:
            raise PeerUnreachableError(address, reason="nobody is there")
        return links

    async def answered(self, kind: str, body: bytes) -> bytes:
        if kind not in self._answers:
            raise InvalidArgumentError(f"nobody at {self._address} answers requests of kind {kind!r}")
        try:
            return await self._answers[kind](body)
        except Exception as exc:
            raise PeerUnreachableError(self._address, reason=f"its answer to {kind!r} failed") from exc

    def answer(self, kind: str, answer: Answer) -> None:
        self._answers[kind] = answer

    async def aclose(self) -> None:
        self._network.remove(self)
