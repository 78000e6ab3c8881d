"""A node's links as its own loop uses them: they live on the loop of the pulse, which goes on while handlers do not."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from meshd.errors import PeerUnreachableError
from meshd.peers.links import Answer, PeerLinks

T = TypeVar("T")


class LinkBridge:
    """Implements `meshd.memory.replication.peer_store.Requests`. Before the links are open, nobody is reached."""

    def __init__(self) -> None:
        self.nodes: Mapping[str, str] = {}
        """The other nodes by their addresses, as the store named them last."""
        self.unreached: frozenset[str] = frozenset()
        """Nodes that do not answer probes."""
        self.weights: Mapping[str, float] = {}
        """How thick the edges to other nodes are, as the topology said last."""
        self._links: tuple[PeerLinks, asyncio.AbstractEventLoop] | None = None
        self._answers: dict[str, Answer] = {}

    @property
    def addresses(self) -> Sequence[str]:
        """Those of the other nodes."""
        return tuple(self.nodes)

    @property
    def address(self) -> str:
        return "" if self._links is None else self._links[0].address

    def opened(self, links: PeerLinks) -> None:
        """Use these; called on the loop they belong to."""
        self._links = (links, asyncio.get_running_loop())
        for kind, answer in list(self._answers.items()):
            links.answer(kind, answer)

    def closed(self) -> None:
        """Do without links again."""
        self._links = None

    async def request(self, address: str, kind: str, body: bytes, *, timeout_ms: int) -> bytes:
        if self._links is None:
            raise PeerUnreachableError(address, reason="this node has no links")
        links, there = self._links
        try:
            return await _run(there, lambda: links.request(address, kind, body, timeout_ms=timeout_ms))
        except RuntimeError as exc:
            raise PeerUnreachableError(address, reason="this node's links are closed") from exc

    def answer(self, kind: str, answer: Answer) -> None:
        """Answer requests of `kind` on the loop that runs this."""
        here = asyncio.get_running_loop()
        self._answers[kind] = lambda body: _run(here, lambda: _answered(answer, body))
        if self._links is not None:
            links, there = self._links
            there.call_soon_threadsafe(links.answer, kind, self._answers[kind])


async def _answered(answer: Answer, body: bytes) -> bytes:
    return await answer(body)


async def _run(loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what the call returns on another loop."""
    running: Awaitable[T] = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), loop))
    return await running
