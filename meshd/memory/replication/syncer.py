"""Keeping a replica in step with its hub: follows the feed, compares now and then, reports, and answers requests.

Everything here is begun again after whatever ends it; the hub may be away for any length of time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random

from meshd.errors import MemoryRefusedError, UnavailableError
from meshd.events import EventBus
from meshd.memory.model import Member, StoreClock
from meshd.memory.replication.commits import Committer
from meshd.memory.replication.counters import Counters, Round, state_of
from meshd.memory.replication.following import Follower
from meshd.memory.replication.gossip import Gossip, GossipParts, Neighbourhood
from meshd.memory.replication.intake import Intake
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.outbox import Outbox
from meshd.memory.replication.reconciling import Parts, Reconciler
from meshd.memory.replication.renaming import new_actor
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SYNC_TOPIC, SyncOptions, SyncState

logger = logging.getLogger(__name__)

_SHORTEST_S, _LONGEST_S = 0.05, 1.0
_OTHERS_S = 0.1, 0.4
"""After so long it is looked whether others have brought back what the hub lost of them."""
_QUIET_INTERVALS = 2
"""After a look that found nothing to do, the next is so many intervals away: what is missed meanwhile is not gone."""
_SWEEPS = 0.25
"""Sweeps of the hub in each interval, by all replicas together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncParts:
    """What is kept in step, and with what."""

    node: str
    hub: MemoryStore
    events: EventBus | None
    file: ReplicaFile
    stamper: Stamper
    committer: Committer
    outbox: Outbox
    intake: Intake
    counters: Counters
    options: SyncOptions
    rng: Random
    around: Neighbourhood | None


class Syncer:
    """One replica's side of the syncing."""

    def __init__(self, parts: SyncParts) -> None:
        self._parts = parts
        outbox = parts.outbox
        self._follower = Follower(parts.hub, parts.intake, own=lambda: (outbox.actor, outbox.last))
        self._reconciler = Reconciler(
            Parts(
                hub=parts.hub,
                file=parts.file,
                stamper=parts.stamper,
                intake=parts.intake,
                follower=self._follower,
                outbox=outbox,
                counters=parts.counters,
                rename=self._rename,
                rng=parts.rng,
            )
        )
        outbox.made = self._follower.made
        self._gossip = None if parts.around is None else self._gossip_in(parts.around)
        self._facts: dict[str, str] = {}
        self._last: Round | None = None
        self._request = ""
        self._share = 1.0
        self._is_closed = False
        self._is_member = False
        """The hub has heard of this replica, as far as is known."""
        self._arrived = asyncio.Event()
        self._look = asyncio.Event()

    async def begin(self) -> None:
        """Take up where the file stands; the hub may be away.

        An actor is used again only if the file is still the one it was noted in, and the hub knows no more of it.
        """
        file, follower = self._parts.file, self._follower
        self._facts = dict(await file.facts())
        local = await file.store.clock()
        self._parts.intake.seen.cover(local.clock)
        actor = self._facts.get("actor", "")
        if not (await self._may_go_on(actor, seq=local.clock.get(actor, 0))):
            actor = new_actor(self._parts.node)
            await self._note({"actor": actor, "identity": file.identity})
        self._write_as(actor, seq=local.clock.get(actor, 0))
        follower.stand_at(int(self._facts.get("cursor", "0")), generation=self._facts.get("generation", ""))

    @property
    def works(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What is to be done as long as the replica is open: `keep` each in a task of its own."""
        works = {"following": self._follow, "rounds": self._look_when_asked, "requests": self._answer_requests}
        return works if self._gossip is None else {**works, "gossip": self._gossip.run}

    async def keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a work that never ends; whatever ends it, it begins again after a pause, unless it was cancelled.

        A call that fails while it is cancelled may raise its failure in place of the cancellation.
        """
        pause = _SHORTEST_S
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                await work()
            except (UnavailableError, MemoryRefusedError) as exc:
                logger.debug("shared memory: %s", exc)
                self._parts.counters.pace.tried(is_done=False)
            except Exception:
                logger.exception("shared memory is not in step, and tries again")
            else:
                return
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError
            pause = _SHORTEST_S if now() - began > _LONGEST_S else min(pause * 2, _LONGEST_S)
            await asyncio.sleep(self._parts.rng.uniform(pause / 2, pause))

    async def end(self) -> None:
        """Send what waits, and report a last time."""
        try:
            await self._parts.outbox.flush()
            self._is_closed = True
            await self._report()
        finally:
            await self._note_place()

    @property
    def state(self) -> SyncState:
        """How far this replica is."""
        outbox = self._parts.outbox
        return state_of(
            self._parts.counters,
            self._last,
            pending=outbox.pending,
            refused=outbox.pending if outbox.held is not None else 0,
            request=self._request,
            is_closed=self._is_closed,
        )

    def tell(self) -> None:
        """Have other nodes told of what was written here, where they are not told by the hub."""
        if self._gossip is not None and self._gossip.is_on:
            self._gossip.tell()

    def look_soon(self) -> None:
        """Compare soon: the hub's data is not what it was."""
        self._is_member = False
        self._look.set()

    async def round(self, *, digests: bool) -> Round:
        """Compare with the hub, exchange what either lacks, and report.

        Raises:
            UnavailableError: the hub is away.
        """
        async with self._follower.turn:
            hub, was_member = None, self._is_member
            if not was_member or not digests:
                is_known, hub = await self._check_in(revision=None if was_member else 0)
                if not is_known:
                    self._reconciler.doubt()
            found = await self._reconciler.round(digests=digests, hub=hub)
            if self._gossip is not None:
                self._gossip.hub_is(away=False, quarantined=self._reconciler.quarantined)
            if found.is_equal is not None or self._last is None:
                self._last = found
            self._tell_arrival()
        is_reported = was_member and hub is not None and found.is_quiet
        if not is_reported and not await self._report():
            self._reconciler.doubt()
            self._look.set()
        if self._reconciler.waits_for_others:
            self._look.set()
        self._parts.counters.pace.tried(is_done=True)
        await self._note_place()
        return found

    async def sync(self) -> Round:
        """Compare everything with the hub, once others have brought back what it lost of them, if it did.

        Raises:
            UnavailableError: the hub is away.
        """
        found = await self.round(digests=True)
        while self._reconciler.waits_for_others:
            await asyncio.sleep(self._parts.rng.uniform(*_OTHERS_S))
            found = await self.round(digests=True)
        return found

    async def arrive(self) -> None:
        """Return soon, with more of what the hub has."""
        try:
            async with asyncio.timeout(0.01):
                await self._arrived.wait()
        except TimeoutError:
            async with self._follower.turn:
                await self._reconciler.pull()
                self._tell_arrival()
            await asyncio.sleep(self._parts.rng.uniform(0.01, 0.03))

    async def _follow(self) -> None:
        """Follow the feed; every so often, and after every outage, compare."""
        try:
            await self._follow_feed()
        except UnavailableError:
            if self._gossip is not None:
                self._gossip.hub_is(away=True)
            raise

    async def _follow_feed(self) -> None:
        options, rng, now = self._parts.options, self._parts.rng, asyncio.get_running_loop().time
        interval = options.interval.total_seconds()
        async with self._parts.hub.follow() as feed:
            self._reconciler.doubt()
            await self.round(digests=False)
            intervals = 0
            next_round = now() + interval * rng.uniform(0.75, 1.25)
            while True:
                heard = await self._follower.hear(feed, timeout_ms=max(0, round((next_round - now()) * 1000)))
                self._tell_arrival()
                if heard.has_missed:
                    await self._catch_up(is_other=heard.is_other)
                if heard.wanted:
                    await self._report()
                if now() >= next_round:
                    found = await self.round(digests=intervals >= options.digest_every)
                    pause = _QUIET_INTERVALS if found.is_quiet else 1
                    intervals = pause + (0 if intervals >= options.digest_every else intervals)
                    await self._sweep(intervals=pause)
                    next_round = now() + pause * interval * rng.uniform(0.75, 1.25)

    async def _sweep(self, *, intervals: int) -> None:
        """Do this replica's share of the hub's sweeping, for so many intervals.

        A replica that sweeps looks how many there are; until it first does, it takes itself for the only one.
        """
        if self._parts.rng.random() < self._share * _SWEEPS * intervals:
            members = await self._parts.hub.members()
            self._reconciler.met(members)
            self._share = 1 / max(1, len(members))
            await self._parts.hub.sweep()

    async def _catch_up(self, *, is_other: bool) -> None:
        async with self._follower.turn:
            is_done = not is_other and await self._follower.catch_up()
            self._tell_arrival()
        if not is_done:
            await self.round(digests=False)

    async def _look_when_asked(self) -> None:
        """Compare when something was met that only a comparison explains."""
        while True:
            await self._look.wait()
            self._look.clear()
            await self.round(digests=False)
            if self._reconciler.is_lost:
                await asyncio.sleep(self._parts.rng.uniform(*_OTHERS_S))
                self._look.set()

    async def _answer_requests(self) -> None:
        """Sync at once when somebody asks every replica to."""
        if self._parts.events is None:
            return
        async with self._parts.events.subscribe(SYNC_TOPIC) as asked:
            while True:
                hint = await asked.get(timeout_ms=60_000)
                request = "" if hint is None else str(hint.body.get("id", ""))
                if request and request != self._request:
                    await self.sync()
                    self._request = request
                if request:
                    await self._report()

    async def _report(self) -> bool:
        """Tell the hub how far this replica is; return false if it has been forgotten, and must compare everything."""
        is_known, _ = await self._parts.hub.check_in(self._member())
        return await self._accounted(is_known)

    async def _check_in(self, *, revision: int | None) -> tuple[bool, StoreClock]:
        """Report, and learn where the hub stands by the same call; `True` as `_report` returns it."""
        asked_ms = self._parts.stamper.local_ms()
        is_known, hub = await self._parts.hub.check_in(self._member(revision))
        self._reconciler.learn(hub, asked_ms=asked_ms)
        return await self._accounted(is_known), hub

    def _member(self, revision: int | None = None) -> Member:
        parts = self._parts
        return Member(
            node=parts.node,
            actor=parts.outbox.actor,
            revision=self._follower.cursor if revision is None else revision,
            seen_ms=parts.stamper.now_ms(),
            state=self.state.as_mapping(),
        )

    async def _accounted(self, is_known: bool) -> bool:
        self._is_member = True
        mark = f"{self._follower.generation} {self._parts.outbox.actor}"
        was_known = self._facts.get("member") == mark
        await self._note({"member": mark})
        return is_known or not was_known

    def _gossip_in(self, around: Neighbourhood) -> Gossip:
        parts = self._parts
        return Gossip(
            around,
            GossipParts(
                file=parts.file,
                intake=parts.intake,
                outbox=parts.outbox,
                stamper=parts.stamper,
                counters=parts.counters,
                options=parts.options,
                rename=self._rename,
                rng=parts.rng,
            ),
        )

    def _tell_arrival(self) -> None:
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    async def _may_go_on(self, actor: str, *, seq: int) -> bool:
        """Return whether the actor may go on: a copied or restored file must not use numbers again."""
        if not actor.startswith(f"{self._parts.node}~") or self._facts.get("identity") != self._parts.file.identity:
            return False
        stamper = self._parts.stamper
        asked_ms = stamper.local_ms()
        try:
            hub = await self._parts.hub.clock()
        except UnavailableError:
            return False
        stamper.correct(hub_ms=hub.now_ms, asked_ms=asked_ms)
        return hub.clock.get(actor, 0) <= seq

    def _write_as(self, actor: str, *, seq: int) -> None:
        self._parts.committer.begin(actor, seq=seq)
        self._parts.outbox.begin(actor, last=seq)

    async def _rename(self) -> None:
        """Take another actor, and write anew as that what the hub has not taken from here."""
        outbox, actor = self._parts.outbox, new_actor(self._parts.node)
        old, taken = outbox.actor, outbox.taken
        logger.error("somebody else writes as %s: a copy of this replica's file? going on as %s", old, actor)
        await self._note({"actor": actor, "identity": self._parts.file.identity})
        self._write_as(actor, seq=0)
        while waiting := await self._parts.file.written(old, after=taken):
            await self._parts.committer.restamp(waiting)
            taken = waiting[-1].header.seq

    async def _note_place(self) -> None:
        await self._note({"generation": self._follower.generation, "cursor": str(self._follower.cursor)})

    async def _note(self, facts: Mapping[str, str]) -> None:
        news = {name: value for name, value in facts.items() if self._facts.get(name, "") != value}
        if news:
            await self._parts.file.note(news)
            self._facts.update(news)
