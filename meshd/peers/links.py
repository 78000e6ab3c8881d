"""The peer port: links between nodes that do not pass through the store.

Invariant: what is handed up was written by a member of the same mesh: both kinds of message carry a keyed checksum, and
one that is damaged, foreign, too old or too large is dropped and counted, never raised into the receiver.
A mesh works without links; it then sees less (no probes, no relay, no hub-less sync), and says so.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

MAX_DATAGRAM_BYTES = 1_200
"""Payload that fits one packet on any path."""
MAX_BODY_BYTES = 4_194_304

OnDatagram = Callable[[str, bytes], None]
"""Takes the sender's address and the payload; called on the links' loop, must not block."""

Answer = Callable[[bytes], Awaitable[bytes]]
"""Takes the body of a request and returns the body of its reply."""


class PeerLinks(Protocol):
    """This node's end of all its links."""

    @property
    def address(self) -> str:
        """`host:port` under which other nodes reach it, for datagrams and requests alike."""
        ...

    def send(self, address: str, payload: bytes) -> None:
        """Send a datagram: it arrives at most a few times, or never. Never blocks, never raises for the network.

        Raises:
            InvalidArgumentError: it is over `MAX_DATAGRAM_BYTES`.
        """
        ...

    def listen(self, on_datagram: OnDatagram) -> None:
        """Hand every datagram from now on to `on_datagram`; the last listener counts."""
        ...

    async def request(self, address: str, kind: str, body: bytes, *, timeout_ms: int) -> bytes:
        """Return the reply of whoever answers requests of `kind` there.

        Raises:
            PeerUnreachableError: no connection, or no reply in time; the request may or may not have been acted on.
            InvalidArgumentError: nobody answers this kind there, or the body is over `MAX_BODY_BYTES`.
        """
        ...

    def answer(self, kind: str, answer: Answer) -> None:
        """Answer requests of `kind` from now on."""
        ...

    async def aclose(self) -> None:
        """Close sockets and end every request. Idempotent."""
        ...
