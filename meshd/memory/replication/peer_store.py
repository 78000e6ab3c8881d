"""Another node's replica, reached over a link: what one asks, and how the other answers. No hub is needed.

Invariant: what is passed on with a clock is all that the clock covers and the receiver lacked. A writer of whom
anything was left out or refused is left out of the clock too, so no replica ever vouches for what it has not seen.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from meshd.codec import pack, unpack
from meshd.errors import CorruptDataError, StoreUnreachableError
from meshd.memory.digests import bucket_of
from meshd.memory.hybrid_clock import is_future
from meshd.memory.model import LOCAL, Item, NodeClock, Version
from meshd.memory.replication.intake import Intake
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.repairing import Side
from meshd.memory.sealing import pack_item, read, read_item

NEWER, TAKE, DIGEST, ITEMS = "memory.newer", "memory.take", "memory.digest", "memory.items"

PAGE = 500
"""Most versions of one page; the siblings of a key stay together."""
_PAGE_BYTES = 1_000_000
MOST_BYTES = 3_000_000
"""A key with more bytes than that does not pass over links, and waits for the hub."""
_TIMEOUT_MS = 2_000

T = TypeVar("T")


class Requests(Protocol):
    """What is needed of the links between nodes."""

    @property
    def address(self) -> str:
        """Under which other nodes reach this one."""
        ...

    async def request(self, address: str, kind: str, body: bytes, *, timeout_ms: int) -> bytes:
        """Return the reply of whoever answers requests of `kind` there.

        Raises:
            PeerUnreachableError: no connection, or no reply in time.
            InvalidArgumentError: nobody answers this kind there, or the body is too large.
        """
        ...

    def answer(self, kind: str, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer requests of `kind` from now on."""
        ...


class _Ask(msgspec.Struct, array_like=True, frozen=True):
    clock: dict[str, int] = {}
    after: str = ""
    buckets: list[int] = []


class _Page(msgspec.Struct, array_like=True, frozen=True):
    generation: str
    clock: dict[str, int]
    """As it was before anything of this page was read."""
    items: list[bytes] = []
    after: str = ""
    left_out: list[str] = []
    """Actors of whom something did not fit."""


class _Given(msgspec.Struct, array_like=True, frozen=True):
    blobs: list[bytes]
    clock: dict[str, int] | None = None


class _Taken(msgspec.Struct, array_like=True, frozen=True):
    refused: list[str]


class _Sums(msgspec.Struct, array_like=True, frozen=True):
    mark: str
    buckets: bytes = b""


_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Customs:
    """Judges what comes from another node as the hub would, which has not seen it."""

    now_ms: Callable[[], int]
    max_drift_ms: int
    quarantined: Collection[str] = ()
    """Nodes whose versions the hub refuses, as far as was heard."""

    def pass_on(self, versions: Iterable[Version]) -> tuple[list[Version], set[str]]:
        """Return what may be taken, and the actors of the rest."""
        taken: list[Version] = []
        refused: set[str] = set()
        now_ms = self.now_ms()
        for version in versions:
            header = version.header
            is_kept_out = header.node in self.quarantined or header.actor.partition("~")[0] in self.quarantined
            if is_kept_out or is_future(header.ms, now_ms=now_ms, max_drift_ms=self.max_drift_ms):
                refused.add(header.actor)
            elif header.actor != LOCAL:
                taken.append(version)
        return taken, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """What another replica has that this one did not know."""

    clock: NodeClock
    """Everything that it covers is in here, or was known, but for what the actors in `left_out` wrote."""
    versions: Sequence[Version]
    after: str
    left_out: Collection[str]


class PeerStore:
    """The replica at one address, for one exchange.

    Every call raises `PeerUnreachableError` when the node is away, `CorruptDataError` for an answer that is none, and
    `StoreUnreachableError` if the replica there is another than at the first call.
    """

    def __init__(self, links: Requests, address: str) -> None:
        self._links = links
        self._address = address
        self._generation = ""

    async def newer(self, clock: NodeClock, *, after: str = "") -> Newer:
        """Return a page of what `clock` does not cover there, by key."""
        page = self._same(await self._ask(NEWER, _Ask(clock=dict(clock), after=after), _Page))
        versions = [version for data in page.items for version in read_item(data)]
        return Newer(clock=page.clock, versions=versions, after=page.after, left_out=page.left_out)

    async def take(self, versions: Sequence[Version], *, clock: NodeClock | None = None) -> set[str]:
        """Have it take these, and then cover `clock`; return the actors of what it refused."""
        given = _Given([version.blob for version in versions], None if clock is None else dict(clock))
        return set((await self._ask(TAKE, given, _Taken)).refused)

    async def mark(self) -> str:
        """Return the mark of its digest."""
        return (await self._ask(DIGEST, _Ask(), _Sums)).mark

    async def digest(self) -> bytes:
        """Return the sums of its buckets."""
        return (await self._ask(DIGEST, _Ask(buckets=[0]), _Sums)).buckets

    async def side(self, buckets: Collection[int]) -> Side:
        """Return its items of these buckets, and its clock as it was before."""
        items: dict[str, Item] = {}
        clock: NodeClock | None = None
        after, more = "", True
        while more:
            page = self._same(await self._ask(ITEMS, _Ask(after=after, buckets=sorted(buckets)), _Page))
            clock = page.clock if clock is None else clock
            items.update((item[0].key, item) for item in map(read_item, page.items))
            after, more = page.after, bool(page.after)
        return Side(clock=clock or {}, items=items)

    async def _ask(self, kind: str, question: object, answer: type[T]) -> T:
        reply = await self._links.request(self._address, kind, pack(_encode(question)), timeout_ms=_TIMEOUT_MS)
        return _decoded(reply, answer)

    def _same(self, page: _Page) -> _Page:
        if self._generation not in ("", page.generation):
            raise StoreUnreachableError(f"the replica at {self._address} is another than before")
        self._generation = page.generation
        return page


class PeerDesk:
    """Answers other nodes from this node's replica, and takes what they bring."""

    def __init__(
        self,
        file: ReplicaFile,
        intake: Intake,
        customs: Customs,
        *,
        own: Callable[[], tuple[str, int]],
        took: Callable[[int], None],
    ) -> None:
        """`took` is called with how much was new of what another node brought."""
        self._file = file
        self._intake = intake
        self._customs = customs
        self._own = own
        self._took = took

    def open(self, links: Requests) -> None:
        """Answer over these links from now on."""
        links.answer(NEWER, self._newer)
        links.answer(TAKE, self._take)
        links.answer(DIGEST, self._digest)
        links.answer(ITEMS, self._items)

    async def take(self, versions: Sequence[Version]) -> set[str]:
        """Keep what another node has; return the actors of what is refused, also because its bytes are damaged."""
        passed, refused = self._customs.pass_on(versions)
        if not await self._intake.take(passed, skip=self._own()):
            refused.update(actor for actors in self._intake.damaged.values() for actor in actors)
        return refused

    async def cover(self, clock: NodeClock) -> None:
        """Vouch for everything this clock covers but for what this node wrote itself."""
        actor, _ = self._own()
        await self._intake.cover({name: seq for name, seq in clock.items() if name != actor})

    async def _newer(self, body: bytes) -> bytes:
        asked = _decoded(body, _Ask)
        store = self._file.store
        clock = await store.clock()
        versions, after = await store.newer(asked.clock, after=asked.after, limit=PAGE)
        items: dict[str, list[Version]] = {}
        for version in versions:
            items.setdefault(version.key, []).append(version)
        return self._page(clock.generation, clock.clock, items.items(), after)

    async def _items(self, body: bytes) -> bytes:
        asked = _decoded(body, _Ask)
        store, buckets = self._file.store, frozenset(asked.buckets)
        clock = await store.clock()
        found = await store.list("", limit=PAGE, after=asked.after)
        shown = [(key, [each for each in item if each.header.actor != LOCAL]) for key, item in found]
        after = found[-1][0] if len(found) == PAGE else ""
        wanted = [(key, item) for key, item in shown if item and bucket_of(key) in buckets]
        return self._page(clock.generation, clock.clock, wanted, after)

    async def _digest(self, body: bytes) -> bytes:
        asked = _decoded(body, _Ask)
        if not asked.buckets:
            return _encode(_Sums(await self._file.store.mark()))
        digest = await self._file.store.digest()
        return pack(_encode(_Sums(digest.mark, digest.buckets)))

    async def _take(self, body: bytes) -> bytes:
        given = _decoded(body, _Given)
        before = self._intake.counters.received
        refused = await self.take([read(blob) for blob in given.blobs])
        if given.clock is not None:
            await self.cover({actor: seq for actor, seq in given.clock.items() if actor not in refused})
        self._took(self._intake.counters.received - before)
        return _encode(_Taken(sorted(refused)))

    def _page(
        self, generation: str, clock: NodeClock, items: Iterable[tuple[str, Sequence[Version]]], after: str
    ) -> bytes:
        """Return as many of the items as fit; the page ends at the last of them."""
        packed: list[bytes] = []
        left_out: set[str] = set()
        size, last = 0, ""
        for key, item in items:
            data = pack_item(item)
            if len(data) > MOST_BYTES:
                left_out.update(version.header.actor for version in item)
                continue
            size += len(data)
            if packed and size > _PAGE_BYTES:
                after = last
                break
            packed.append(data)
            last = key
        return pack(_encode(_Page(generation, dict(clock), packed, after, sorted(left_out))))


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(unpack(body), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"{len(body)} bytes from another node say nothing of the memory: {exc}") from exc
