"""Links over UDP and TCP on one port; everything runs on the loop that opened them, and nothing blocks it.

Invariant: the payloads handed up were sealed by a member for this node, each once.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from meshd.clock import Clock, system_clock
from meshd.errors import ConfigurationError, InvalidArgumentError
from meshd.peers.addresses import LOOPBACK, is_numeric, joined, parts_of, resolved
from meshd.peers.links import MAX_DATAGRAM_BYTES, Answer, OnDatagram
from meshd.peers.sealing import MAX_OVERHEAD, Kind, Seal
from meshd.peers.streams import Answers, Requests

logger = logging.getLogger(__name__)

_TRIES = 20
_MAX_NAMES = 4_096
RESOLVED_S = 60.0
"""How long a name is taken to mean the same address; then it is resolved again, while the old one is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where links are opened."""

    host: str = LOOPBACK
    """Under which other nodes reach this machine."""
    port: int = 0
    """Taken if it is free, else another; 0: another."""
    is_translated: bool = False
    """The host is not an address of this machine's own, or not the only one: listen on all."""


async def open_links(place: Place, key: bytes, *, clock: Clock = system_clock) -> "SocketLinks":
    """Return links that are open.

    Raises:
        ConfigurationError: this machine has no such address, or no port is free.
    """
    try:
        bound = "" if place.is_translated else await resolved(place.host)
        stream, datagram = _bound(bound, place.port, family=_family(await resolved(place.host)))
    except OSError as exc:
        raise ConfigurationError(
            f"links to other nodes cannot be opened at {joined(place.host, place.port)}: {exc.strerror or exc}; "
            "set peers.advertise to this machine's address, or peers.enabled to off"
        ) from exc
    address = joined(place.host, int(stream.getsockname()[1]))
    links = SocketLinks(address, Seal(key, clock=clock), family=stream.family)
    await links.open(stream, datagram)
    return links


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bound(host: str, port: int, *, family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """Return a stream and a datagram socket on one port: this one if it is free."""
    for number in (port, *(0,) * _TRIES):
        stream, datagram = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        try:
            for each in (stream, datagram):
                each.setblocking(False)
                if family == socket.AF_INET6 and not host:
                    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a node that comes back gets its port again
            stream.bind((host, number))
            datagram.bind((host, stream.getsockname()[1]))
        except OSError as exc:
            stream.close()
            datagram.close()
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return stream, datagram
    raise OSError(errno.EADDRINUSE, "no port is free")


class SocketLinks(asyncio.DatagramProtocol):
    """Implements `PeerLinks`; see `open_links`."""

    def __init__(self, address: str, seal: Seal, *, family: int) -> None:
        self._address = address
        self._seal = seal
        self._is_wide = family == socket.AF_INET6
        self._kinds: dict[str, Answer] = {}
        self._requests = Requests(seal, address=address)
        self._answers = Answers(seal, address=address, kinds=self._kinds)
        self._server: asyncio.Server | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._is_full = False
        self._on_datagram: OnDatagram | None = None
        self._targets: dict[str, tuple[str, int] | None] = {}
        self._named: dict[str, float] = {}
        self._resolving: set[asyncio.Task[None]] = set()

    async def open(self, stream: socket.socket, datagram: socket.socket) -> None:
        """Take over two bound sockets."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, sock=datagram)
        self._server = await asyncio.start_server(self._answers.serve, sock=stream, backlog=64)

    @property
    def address(self) -> str:
        return self._address

    @property
    def drops(self) -> Mapping[str, int]:
        """What was refused, by reason; see `Seal.drops`."""
        return self._seal.drops

    @property
    def connections(self) -> int:
        """Open now, in either direction."""
        return self._requests.connections + self._answers.connections

    def rekey(self, key: bytes) -> None:
        """Talk to those who have this key from now on."""
        self._seal.rekey(key)

    def send(self, address: str, payload: bytes) -> None:
        if len(payload) > MAX_DATAGRAM_BYTES:
            raise InvalidArgumentError(f"datagram of {len(payload)} bytes is over the limit of {MAX_DATAGRAM_BYTES}")
        transport = self._transport
        if transport is None or transport.is_closing() or self._is_full:
            return
        target = self._target(address)
        if target is not None:
            data, _ = self._seal.close(Kind.DATAGRAM, payload, sender=self._address, receiver=address)
            transport.sendto(data, target)

    def _target(self, address: str) -> tuple[str, int] | None:
        """Return where datagrams for an address go; one with a name goes nowhere until that is resolved."""
        now = asyncio.get_running_loop().time()
        if address in self._targets:
            if now - self._named.get(address, now) >= RESOLVED_S:
                self._look_up(address, *parts_of(address))
            return self._targets[address]
        if len(self._targets) >= _MAX_NAMES:
            self._targets.clear()
            self._named.clear()
        self._targets[address] = None
        try:
            host, port = parts_of(address)
        except InvalidArgumentError:
            return None
        if is_numeric(host):
            self._targets[address] = self._reachable(host, port)
        else:
            self._look_up(address, host, port)
        return self._targets[address]

    def _look_up(self, address: str, host: str, port: int) -> None:
        self._named[address] = asyncio.get_running_loop().time()
        task = asyncio.get_running_loop().create_task(self._resolve(address, host, port))
        self._resolving.add(task)
        task.add_done_callback(self._resolving.discard)

    async def _resolve(self, address: str, host: str, port: int) -> None:
        try:
            target = self._reachable(await resolved(host, port), port)
        except OSError as exc:
            logger.debug("%s is not resolved: %s", host, exc)
            if self._targets.get(address) is None:
                self._targets.pop(address, None)
                self._named.pop(address, None)
            return
        if address in self._named:
            self._targets[address] = target

    def _reachable(self, host: str, port: int) -> tuple[str, int] | None:
        if self._is_wide and ":" not in host:
            return f"::ffff:{host}", port
        return None if ":" in host and not self._is_wide else (host, port)

    def listen(self, on_datagram: OnDatagram) -> None:
        self._on_datagram = on_datagram

    async def request(self, address: str, kind: str, body: bytes, *, timeout_ms: int) -> bytes:
        return await self._requests.request(address, kind, body, timeout_ms=timeout_ms)

    def answer(self, kind: str, answer: Answer) -> None:
        self._kinds[kind] = answer

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._transport is not None:
            self._transport.close()
        for task in self._resolving:
            task.cancel()
        self._requests.close()
        await self._answers.aclose()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def pause_writing(self) -> None:
        """The system takes no more for now: what is sent until it does is lost."""
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) > MAX_DATAGRAM_BYTES + MAX_OVERHEAD:
            self._seal.drop("size")
            return
        opened = self._seal.open(Kind.DATAGRAM, data, receiver=self._address)
        if opened is not None and self._on_datagram is not None:
            self._on_datagram(opened.sender, opened.payload)

    def error_received(self, exc: Exception) -> None:
        logger.debug("a datagram was not delivered: %s", exc)
