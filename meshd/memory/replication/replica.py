"""A node's replica: everything the mesh knows in a file of its own and in memory, written here first, kept in step.

Invariant: a write is answered when it is durable here (`eventual`) or taken by the hub (the other strategies); the hub
gets all of the former in their order, however long it is away, and whatever it loses it gets back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from random import Random

from meshd.errors import MeshError, UnavailableError
from meshd.events import EventBus
from meshd.memory.access import Access, Acks, Draft, Session, Written
from meshd.memory.confirming import confirmed
from meshd.memory.leased_writer import writer_of
from meshd.memory.model import Item, Member, Strategy, Version
from meshd.memory.replication.cache import Cache
from meshd.memory.replication.commits import Committer
from meshd.memory.replication.counters import Counters, Round
from meshd.memory.replication.gossip import Neighbourhood
from meshd.memory.replication.intake import Intake
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.outbox import Outbox
from meshd.memory.replication.syncer import Syncer, SyncParts
from meshd.memory.replication.watchers import Watchers
from meshd.memory.sessions import Seen
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SyncOptions, SyncState

logger = logging.getLogger(__name__)

_PARTING_S = 2.0
"""How long a replica that closes tries to get rid of what it wrote."""
_AWAY_S = 0.05
_AT_HUB = frozenset({Strategy.STRONG, Strategy.MASTER_SLAVE})


class Replica(Access):
    """Start once, then close once; closing closes the file.

    Open the file with the stamper's `now_ms` as its clock: what expires is then judged by the hub's time here too.
    """

    def __init__(
        self,
        hub: MemoryStore,
        file: ReplicaFile,
        stamper: Stamper,
        *,
        node: str,
        events: EventBus | None = None,
        options: SyncOptions | None = None,
        around: Neighbourhood | None = None,
    ) -> None:
        """With `around`, replicas tell each other while the hub is away, and always under a `peer_to_peer` rule."""
        options, rng, counters, seal = options or SyncOptions(), Random(), Counters(), stamper.seal
        self.node = node
        self._hub = hub
        self._file = file
        self._stamper = stamper
        self._options = options
        rules = (options.rules.default, *options.rules.prefixes.values())
        self._reads_at_hub = any(rule.strategy is Strategy.STRONG for rule in rules)
        self._seen = Seen()
        self._watchers = Watchers()
        self._cache = Cache(options.cache_items)
        self._intake = Intake(
            file, seal, cache=self._cache, seen=self._seen, watchers=self._watchers, counters=counters
        )
        self._committer = Committer(file, stamper, self._cache, told=self._committed, options=options)
        self._outbox = Outbox(
            hub, file, seal, options=options, counters=counters, restamp=self._committer.restamp, rng=rng
        )
        self._writer = writer_of(hub, stamper, holder=node, options=options, rng=rng)
        self._syncer = Syncer(
            SyncParts(
                node=node,
                hub=hub,
                events=events,
                file=file,
                stamper=stamper,
                committer=self._committer,
                outbox=self._outbox,
                intake=self._intake,
                counters=counters,
                options=options,
                rng=rng,
                around=around,
            )
        )
        self._outbox.hub_differs = self._syncer.look_soon
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False

    async def start(self) -> None:
        """Take up where the file stands, and begin to sync; the hub may be away."""
        await self._syncer.begin()
        works = {"commits": self._committer.run, "outbox": self._outbox.run, **self._syncer.works}
        self._tasks = [
            asyncio.create_task(self._syncer.keep(work), name=f"meshd memory {name}") for name, work in works.items()
        ]

    async def aclose(self) -> None:
        """Send what waits, if the hub can be reached, and close the file. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._tasks:
                await self._part()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._committer.close()
            await self._file.aclose()

    def peek(self, key: str, *, session: Session | None = None) -> Item | None:
        """Return the item at once if it is in memory and not older than the session; otherwise `None`."""
        if session is not None and not self._seen.covers(session):
            return None
        return self._cache.get(key)

    async def read(self, keys: Sequence[str], *, session: Session | None = None) -> Sequence[Item]:
        if session is not None and not self._seen.covers(session):
            await self._seen.wait_for(session, timeout=self._options.read_timeout, look=self._look)
        if len(keys) == 1 and not self._reads_at_hub:
            item = self._cache.get(keys[0])
            if item is not None:
                return (item,)
        if self._reads_at_hub:
            await self._fetch([key for key in keys if self._options.rules.of(key).strategy is Strategy.STRONG])
        found = [self._cache.get(key) for key in keys]
        if None in found:
            missing = [key for key, item in zip(keys, found, strict=True) if item is None]
            mark = self._cache.mark
            read = dict(zip(missing, await self._file.store.get(missing), strict=True))
            self._cache.fill(read.items(), mark=mark)
            found = [read.get(key) if item is None else item for key, item in zip(keys, found, strict=True)]
        return [item or () for item in found]

    async def list(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        return await self._file.store.list(prefix, limit=limit, after=after)

    async def write(
        self, drafts: Sequence[Draft], *, strategy: Strategy, acks: Acks | None = None
    ) -> Sequence[Written]:
        if strategy in _AT_HUB:
            return await self._write_at_hub(drafts, strategy=strategy, acks=acks)
        made = await self._committer.write(drafts)
        count = 0
        if acks is not None:
            await self._outbox.flush(wanted=acks.replicas > 0)
            count = await self._confirmed(acks)
        is_sent = acks is not None
        return [Written(version=version, reply=reply, is_sent=is_sent, confirmed=count) for version, reply in made]

    async def changes(self, prefix: str) -> AsyncIterator[tuple[str, Item]]:
        with self._watchers.watch(prefix) as watch:
            while True:
                keys = await watch.take(100)
                for found in zip(keys, await self.read(keys), strict=True):
                    yield found

    async def history(self, keys: Sequence[str], *, limit: int) -> Sequence[Sequence[Version]]:
        return await self._file.store.history(keys, limit=limit)

    async def contested(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        return await self._file.store.contested(prefix, limit=limit, after=after)

    async def session(self) -> Session:
        return dict(self._seen.clock)

    async def members(self) -> Sequence[Member]:
        return await self._hub.members()

    async def quarantine(self, node: str, *, reason: str) -> None:
        await self._hub.quarantine(node, reason=reason)

    async def readmit(self, node: str) -> bool:
        return await self._hub.readmit(node)

    async def now_ms(self) -> int:
        return self._stamper.now_ms()

    @property
    def state(self) -> SyncState:
        """How far this replica is."""
        return self._syncer.state

    async def sync(self) -> Round:
        """Compare everything with the hub, exchange what either lacks, and report.

        Raises:
            UnavailableError: the hub is away.
        """
        return await self._syncer.sync()

    async def _part(self) -> None:
        try:
            async with asyncio.timeout(_PARTING_S):
                await self._syncer.end()
                await self._writer.aclose()
        except (MeshError, TimeoutError) as exc:
            logger.warning("%d writes of shared memory stay in the file, not sent: %s", self._outbox.pending, exc)

    async def _write_at_hub(
        self, drafts: Sequence[Draft], *, strategy: Strategy, acks: Acks | None
    ) -> Sequence[Written]:
        await self._outbox.flush()
        is_awaited = acks is not None and acks.replicas > 0
        taken = await self._writer.write(drafts, strategy=strategy, wanted=is_awaited)
        for part in taken:
            await self._intake.take(part.versions)
        count = await self._confirmed(acks) if acks is not None else 0
        return [
            Written(version=version, reply=reply, is_sent=True, confirmed=count)
            for part in taken
            for version, reply in zip(part.versions, part.pushed.replies, strict=True)
        ]

    async def _confirmed(self, acks: Acks) -> int:
        """Return how many replicas have everything this one has sent, once they are enough."""
        if acks.replicas <= 0:
            return 0
        clock = await self._hub.clock()
        return await confirmed(
            self._hub,
            revision=clock.revision,
            acks=acks,
            now_ms=self._stamper.now_ms,
            live_ms=self._options.live_ms,
        )

    async def _fetch(self, keys: Sequence[str]) -> None:
        """Have these as the hub has them now."""
        if keys:
            items = await self._hub.get(keys)
            own = (self._outbox.actor, self._outbox.last)
            await self._intake.take([version for item in items for version in item], skip=own)

    async def _look(self) -> None:
        try:
            await self._syncer.arrive()
        except UnavailableError:
            await asyncio.sleep(_AWAY_S)

    def _committed(self, versions: Sequence[Version]) -> None:
        self._intake.tell(versions)
        self._outbox.add([version for version in versions if version.header.actor == self._outbox.actor])
        self._syncer.tell()
