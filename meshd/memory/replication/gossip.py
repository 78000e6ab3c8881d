"""Replicas that tell each other what they know, without a hub: clocks first, then what either lacks, then digests.

Any two meet as a replica and its hub do: the same versions, clocks and sums, judged by the same rules. What one heard,
it tells the next; so everything reaches everybody in a few rounds, whichever links are cut.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from meshd.errors import InvalidArgumentError, MeshError
from meshd.memory.digests import differing
from meshd.memory.model import NodeClock, Strategy, Version
from meshd.memory.replication.counters import Counters
from meshd.memory.replication.intake import Intake, chunks
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.outbox import Outbox
from meshd.memory.replication.peer_store import MOST_BYTES, Customs, PeerDesk, PeerStore, Requests
from meshd.memory.replication.repairing import read_side, remedies
from meshd.memory.stamping import Stamper
from meshd.memory.syncing import SyncOptions

logger = logging.getLogger(__name__)

_FEW = 2
"""Nodes met at a time."""
_BREATH_S = 0.05
"""News wait so long for others before they are told."""
_COMPARE_S = 5.0
"""Digests are compared no more often than that."""
_LOOK_AGAIN_S = 0.1
_BUCKETS = 64
"""Most buckets repaired in one meeting."""
_PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """How other nodes are reached without a hub."""

    links: Requests
    addresses: Callable[[], Collection[str]]
    """Returns those of the other nodes, as far as is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipParts:
    """What is told to others, and whose it is."""

    file: ReplicaFile
    intake: Intake
    outbox: Outbox
    stamper: Stamper
    counters: Counters
    options: SyncOptions
    rename: Callable[[], Awaitable[None]]
    """Takes another actor: somebody else writes as this one."""
    rng: Random


class Gossip:
    """One replica's meetings with others; they take place while they are of use."""

    def __init__(self, around: Neighbourhood, parts: GossipParts) -> None:
        options, outbox = parts.options, parts.outbox
        self._links = around.links
        self._addresses = around.addresses
        self._parts = parts
        self._pause_s = options.gossip_interval.total_seconds()
        rules = (options.rules.default, *options.rules.prefixes.values())
        self._is_always_on = any(rule.strategy is Strategy.PEER_TO_PEER for rule in rules)
        self._is_hub_away = False
        max_drift_ms = round(options.max_drift.total_seconds() * 1000)
        self._customs = Customs(parts.stamper.now_ms, max_drift_ms=max_drift_ms)
        self._desk = PeerDesk(
            parts.file, parts.intake, self._customs, own=lambda: (outbox.actor, outbox.last), took=self._took
        )
        self._news = asyncio.Event()
        self._compare_at = 0.0

    @property
    def is_on(self) -> bool:
        """Whether replicas tell each other: always under a `peer_to_peer` rule, else while the hub is away."""
        return self._is_always_on or self._is_hub_away

    def hub_is(self, *, away: bool, quarantined: Mapping[str, str] | None = None) -> None:
        """Note how the hub is, and whom it keeps out."""
        if away and not self._is_hub_away:
            self.tell()
        self._is_hub_away = away
        if quarantined is not None:
            self._customs.quarantined = frozenset(quarantined)

    def tell(self) -> None:
        """Tell others soon: there are news."""
        self._news.set()

    def _took(self, received: int) -> None:
        if received:
            self.tell()

    async def run(self) -> None:
        """Answer others, and meet some of them now and then, until cancelled."""
        self._desk.open(self._links)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s * self._parts.rng.uniform(0.75, 1.25)):
                    await self._news.wait()
                    await asyncio.sleep(_BREATH_S)
            self._news.clear()
            if self.is_on:
                await self.run_once()

    async def run_once(self) -> None:
        """Meet a few others, chosen by chance."""
        others = [address for address in self._addresses() if address != self._links.address]
        await asyncio.gather(*[self._try(each) for each in self._parts.rng.sample(others, min(_FEW, len(others)))])

    async def _try(self, address: str) -> None:
        try:
            await self.meet(address)
        except (MeshError, InvalidArgumentError) as exc:
            logger.debug("shared memory: %s", exc)

    async def meet(self, address: str) -> None:
        """Exchange what either lacks with the replica at `address`.

        Raises:
            PeerUnreachableError: it is away.
        """
        peer = PeerStore(self._links, address)
        there, received = await self._take(peer)
        sent = await self._give(peer, there)
        now = asyncio.get_running_loop().time()
        if now >= self._compare_at:
            self._compare_at = now + _COMPARE_S * self._parts.rng.uniform(0.75, 1.25)
            await self._compare(peer)
        self._took(received)
        if sent:
            logger.debug("shared memory: %d versions told to %s", sent, address)

    async def _take(self, peer: PeerStore) -> tuple[NodeClock, int]:
        """Take what is new there; return its clock, and how much that was."""
        known = (await self._parts.file.store.clock()).clock
        refused: set[str] = set()
        received = 0
        clock: NodeClock | None = None
        after, more = "", True
        while more:
            page = await peer.newer(known, after=after)
            if clock is None:
                clock = page.clock
                await self._guard_name(clock)
            before = self._parts.counters.received
            refused |= await self._desk.take(page.versions)
            received += self._parts.counters.received - before
            refused.update(page.left_out)
            after, more = page.after, bool(page.after)
        there = clock or {}
        ahead = {actor: seq for actor, seq in there.items() if seq > known.get(actor, 0) and actor not in refused}
        if ahead:
            await self._desk.cover(ahead)
        return there, received

    async def _give(self, peer: PeerStore, there: NodeClock) -> int:
        """Bring what is unknown there, and then the clock it makes whole; return how many versions."""
        store = self._parts.file.store
        clock = dict((await store.clock()).clock)
        ahead = {actor: seq for actor, seq in clock.items() if seq > there.get(actor, 0)}
        if not ahead:
            return 0
        refused: set[str] = set()
        sent = 0
        after, more = "", True
        while more:
            page, after = await store.newer(there, after=after, limit=_PAGE)
            more = bool(after)
            sent += len(page)
            refused |= await self._bring(peer, page)
        await peer.take([], clock={actor: seq for actor, seq in ahead.items() if actor not in refused})
        return sent

    async def _bring(self, peer: PeerStore, versions: Sequence[Version]) -> set[str]:
        """Have the other take these; return the actors of what it did not."""
        fitting = [version for version in versions if len(version.blob) <= MOST_BYTES]
        refused = {version.header.actor for version in versions if len(version.blob) > MOST_BYTES}
        for chunk in chunks(fitting):
            refused |= await peer.take(chunk)
            self._parts.counters.sent += len(chunk)
            self._parts.counters.bytes_sent += sum(len(version.blob) for version in chunk)
        return refused

    async def _guard_name(self, there: NodeClock) -> None:
        """Take another name if somebody else writes as this node, from a copy of its file."""
        if there.get(self._parts.outbox.actor, 0) > self._parts.outbox.last:
            await self._parts.rename()

    async def _compare(self, peer: PeerStore) -> None:
        """Find what differs although clocks say nothing of it: what one had deleted and collected, or what was lost."""
        suspects = await self._suspects(peer)
        if suspects:
            await asyncio.sleep(_LOOK_AGAIN_S)
            suspects &= await self._suspects(peer)
        if not suspects:
            return
        buckets = frozenset(sorted(suspects)[:_BUCKETS])
        clock = (await self._parts.file.store.clock()).clock
        here = await read_side(self._parts.file.store, buckets, clock=clock)
        there = await peer.side(buckets)
        found = remedies(here, there, now_ms=self._parts.stamper.now_ms(), may_drop_there=False)
        await self._desk.take(found.take)
        await self._bring(peer, found.send)
        if found.drop_here:
            await self._parts.file.store.drop(found.drop_here)
            await self._parts.intake.forget(list(found.drop_here))

    async def _suspects(self, peer: PeerStore) -> set[int]:
        store = self._parts.file.store
        if await store.mark() == await peer.mark():
            return set()
        there = await peer.digest()
        return set(differing((await store.digest()).buckets, there))
