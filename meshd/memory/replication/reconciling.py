"""Comparing a replica with its hub: clocks first, then, if they cannot tell, digests; what either lacks is sent.

A hub that lost data (another generation, or a clock behind this store's) is refilled by its replicas, one at a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from meshd.errors import MemoryRefusedError, StoreUnreachableError
from meshd.memory.digests import differing
from meshd.memory.joining import behind, cover
from meshd.memory.model import LOCAL, Applied, Member, StoreClock, Version
from meshd.memory.replication.counters import Counters, Round
from meshd.memory.replication.following import Follower
from meshd.memory.replication.intake import Intake, chunks
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.outbox import Outbox
from meshd.memory.replication.renaming import renamed
from meshd.memory.replication.repairing import Remedies, read_side, remedies
from meshd.memory.replication.standing import Standing
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore

logger = logging.getLogger(__name__)

REFILL = "~refill"
"""The mastery under which a replica refills the hub; no key starts so by accident, and none is fenced by it."""
_REFILL_MS = 5_000
REPAIR = "~repair"
"""The mastery under which a replica writes again what no proof decides: one at a time, so it is written once."""
_PAGE = 1_000
_TOGETHER = 4
"""Batches on their way to the hub at once."""
_ROUNDS = 3
_LOOKS = 5
"""How often digests are compared before what differs every time is taken for a difference."""
_LOOK_AGAIN_S = 0.05
_NAMED = 10
"""Most keys named that differ after everything was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is compared, and with what."""

    hub: MemoryStore
    file: ReplicaFile
    stamper: Stamper
    intake: Intake
    follower: Follower
    outbox: Outbox
    counters: Counters
    rename: Callable[[], Awaitable[None]]
    """Takes another actor: somebody else writes as this one."""
    rng: Random


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What a comparison of digests came to."""

    is_equal: bool | None = None
    """Whether every bucket was seen equal; `None` where none was looked at."""
    undecided: int = 0
    differing: tuple[str, ...] = ()


class _WentBackError(Exception):
    """The hub lost data since its clock was read."""


class Reconciler:
    """Brings a replica and its hub together; one round at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._went_back = False
        """The hub lost data, and digests were not equal since."""
        self._is_unsure = True
        """The hub may have gone back and on again while nobody listened: clocks alone prove nothing."""
        self._left: dict[str, int] = {}
        """How far the hub had each actor whose own replica is to bring the rest."""
        self._standing = Standing()
        self.is_lost = False
        """The hub lost data that nobody has brought back yet."""
        self.quarantined: Mapping[str, str] = {}
        """Whom the hub keeps out, and why, as of its last clock."""

    @property
    def waits_for_others(self) -> bool:
        """Whether others are just bringing back what the hub lost of them: until then nothing can be equal."""
        return bool(self._left)

    def doubt(self) -> None:
        """Compare digests at the next round: the hub was away, or it has forgotten this replica."""
        self._is_unsure = True

    async def round(self, *, digests: bool, hub: StoreClock | None = None) -> Round:
        """Compare, and exchange what either lacks; begun again when the hub loses data meanwhile.

        `hub` is where the hub stands, if that was just read.

        Raises:
            UnavailableError: the hub is away.
        """
        for _ in range(_ROUNDS):
            try:
                return await self._round(hub or await self._hub_clock(), digests=digests)
            except _WentBackError:
                hub = None
                self._went_back = self._is_unsure = True
        raise StoreUnreachableError("the hub lost data again and again while it was compared")

    async def _round(self, hub: StoreClock, *, digests: bool) -> Round:
        parts = self._parts
        began, before = asyncio.get_running_loop().time(), parts.counters.copy()
        if hub.clock.get(parts.outbox.actor, 0) > parts.outbox.last:
            await parts.rename()
        if not digests and await self._is_in_step(hub):
            await parts.file.tidy(self._standing.to_tidy(hub.clock, own=parts.outbox.actor))
            return self._ended(_Compared(), began=began, before=before, is_quiet=True)
        has_lost = await self._refill(hub)
        self._went_back = self._went_back or has_lost
        await self._take(hub, has_lost=has_lost)
        await self._flush()
        found = _Compared()
        if self.waits_for_others:
            found = _Compared(is_equal=False)
        elif digests or self._went_back or self._is_unsure:
            found = await self._compare(hub)
        await self._cover(hub)
        return self._ended(found, began=began, before=before)

    async def _is_in_step(self, hub: StoreClock) -> bool:
        """Return whether the hub's clock alone shows that neither side lacks anything, and nothing is in doubt.

        Then the changes need not be read, and the hub need not be asked again whether it still has what it had.
        """
        parts, follower, outbox = self._parts, self._parts.follower, self._parts.outbox
        if self._is_unsure or self._went_back or self.is_lost or self._left or parts.intake.damaged or outbox.pending:
            return False
        if (hub.generation, hub.revision) != (follower.generation, follower.cursor):
            return False
        local = await parts.file.store.clock()
        return {actor: seq for actor, seq in local.clock.items() if actor != LOCAL} == dict(hub.clock)

    def _ended(self, found: _Compared, *, began: float, before: Counters, is_quiet: bool = False) -> Round:
        parts = self._parts
        return Round(
            moved=parts.counters.since(before),
            at_ms=parts.stamper.now_ms(),
            duration_ms=round((asyncio.get_running_loop().time() - began) * 1000),
            is_equal=found.is_equal,
            unrepaired=found.undecided,
            differing=found.differing,
            is_quiet=is_quiet,
        )

    def learn(self, hub: StoreClock, *, asked_ms: int) -> None:
        """Take note of the hub's time and of whom it keeps out, asked for at a local time."""
        self._parts.stamper.correct(hub_ms=hub.now_ms, asked_ms=asked_ms)
        self.quarantined = hub.quarantined
        self._standing.saw(hub)

    def met(self, members: Sequence[Member]) -> None:
        """Take note of how far every replica is, as the hub knows it."""
        self._standing.met(members)

    async def pull(self) -> None:
        """Take what the hub has changed, without comparing.

        Raises:
            UnavailableError: the hub is away.
        """
        hub = await self._hub_clock()
        if not self._is_unsure and hub.generation == self._parts.follower.generation:
            await self._take(hub, has_lost=False)
            with suppress(_WentBackError):
                await self._check(hub)
                await self._parts.intake.cover(hub.clock)

    async def _hub_clock(self) -> StoreClock:
        stamper = self._parts.stamper
        asked_ms = stamper.local_ms()
        clock = await self._parts.hub.clock()
        self.learn(clock, asked_ms=asked_ms)
        return clock

    async def _check(self, hub: StoreClock) -> None:
        """Raise unless the hub still has all it had then: only then is what it does not show now known to be gone."""
        now = await self._hub_clock()
        if now.generation != hub.generation or now.revision < hub.revision or behind(now.clock, hub.clock):
            raise _WentBackError

    async def _refill(self, hub: StoreClock) -> bool:
        """Send what the hub lost; return whether it is another than before, or lost more than was known already."""
        parts, known = self._parts, self._left
        local = await parts.file.store.clock()
        own = parts.outbox.actor
        lost = {
            actor: seq
            for actor, seq in local.clock.items()
            if seq > hub.clock.get(actor, 0) and actor not in {own, LOCAL}
        }
        is_other = hub.generation != parts.follower.generation or hub.revision < parts.follower.cursor
        has_lost_own = hub.clock.get(own, 0) < parts.outbox.taken
        await parts.outbox.stands_at(hub.clock.get(own, 0), generation=hub.generation)
        self.is_lost = bool(lost)
        orphaned = await self._orphaned(lost, hub)
        if orphaned:
            mastery = await parts.hub.take_mastery(REFILL, holder=own, ttl_ms=_REFILL_MS)
            if mastery.holder == own:
                try:
                    await self._send(hub, upto=orphaned)
                finally:
                    await parts.hub.resign(mastery)
                self.is_lost = len(orphaned) < len(lost)
        has_lost_more = any(hub.clock.get(actor, 0) < known.get(actor, seq) for actor, seq in lost.items())
        return bool(parts.follower.generation) and (is_other or has_lost_own or has_lost_more)

    async def _orphaned(self, lost: Mapping[str, int], hub: StoreClock) -> dict[str, int]:
        """Return those of the actors whose own replica is not just bringing back what it wrote."""
        if not lost:
            self._left = {}
            return {}
        busy = {member.actor for member in await self._parts.hub.members()}
        left = {
            actor
            for actor in busy & lost.keys()
            if actor not in self._left or hub.clock.get(actor, 0) > self._left[actor]
        }
        self._left = {actor: hub.clock.get(actor, 0) for actor in left}
        return {actor: seq for actor, seq in lost.items() if actor not in left}

    async def _send(self, hub: StoreClock, *, upto: Mapping[str, int]) -> None:
        """Send the versions the hub does not know, and then what they cover."""
        parts = self._parts
        barred: set[str] = set()
        local = await parts.file.store.clock()
        known = cover(hub.clock, {actor: seq for actor, seq in local.clock.items() if actor not in upto})
        after, more = "", True
        while more:
            page, after = await parts.file.store.newer(known, after=after, limit=_PAGE)
            more = bool(after)
            parts_of_page = list(chunks([each for each in page if each.header.actor in upto]))
            for start in range(0, len(parts_of_page), _TOGETHER):
                some = parts_of_page[start : start + _TOGETHER]
                barred.update(*await asyncio.gather(*[self._absorb(chunk) for chunk in some]))
            if more and page:
                await parts.hub.take_mastery(REFILL, holder=parts.outbox.actor, ttl_ms=_REFILL_MS)
        covered = {actor: seq for actor, seq in upto.items() if actor not in barred}
        await self._check(hub)
        await parts.hub.absorb([], clock=covered, generation=hub.generation)
        logger.info("brought the hub what it lacked of %d writers", len(covered))

    async def _absorb(self, chunk: Sequence[Version], *, generation: str | None = None) -> set[str]:
        """Have the hub take these; return the actors of those it refused."""
        counters = self._parts.counters
        replies = await self._parts.hub.absorb(chunk, generation=generation)
        counters.sent += len(chunk)
        counters.bytes_sent += sum(len(version.blob) for version in chunk)
        pairs = list(zip(chunk, replies, strict=True))
        counters.conflicts += sum(reply.applied is Applied.SIBLING for _, reply in pairs)
        return {version.header.actor for version, reply in pairs if reply.applied is Applied.REFUSED}

    async def _take(self, hub: StoreClock, *, has_lost: bool) -> None:
        """Take what this store lacks up to the hub's clock."""
        follower = self._parts.follower
        is_known = follower.cursor > 0 and not has_lost and hub.generation == follower.generation
        if not (is_known and await follower.catch_up()):
            await self._take_newer()
            follower.stand_at(hub.revision, generation=hub.generation)

    async def _cover(self, hub: StoreClock) -> None:
        """Have the local clock cover the hub's, all of which was taken, and forget what nobody needs any more."""
        intake = self._parts.intake
        if intake.damaged:
            await self._parts.follower.ask_again()
        await self._check(hub)
        await intake.cover(hub.clock)
        await self._parts.file.tidy(self._standing.to_tidy(hub.clock, own=self._parts.outbox.actor))

    async def _flush(self) -> None:
        with suppress(MemoryRefusedError):
            await self._parts.outbox.flush()

    async def _take_newer(self) -> None:
        parts = self._parts
        known = (await parts.file.store.clock()).clock
        after, more = "", True
        while more:
            page, after = await parts.hub.newer(known, after=after, limit=_PAGE)
            await parts.intake.take(page)
            more = bool(after)

    async def _compare(self, hub: StoreClock) -> _Compared:
        """Compare digests, and repair what differs."""
        suspects = await self._suspects()
        if suspects and self._is_unsure:
            await self._take_newer()
        if suspects:
            await self._cover(hub)
            suspects = await self._suspects()
        undecided, differing = 0, list[str]()
        if suspects:
            found = await self._remedies(suspects)
            await self._apply(found)
            if found.again:
                await self._write_again(suspects)
            suspects = await self._suspects()
        if suspects:
            found = await self._remedies(suspects)
            undecided, differing = len(found.again), found.keys[:_NAMED]
        self._is_unsure = False
        self._went_back = self._went_back and bool(suspects)
        return _Compared(is_equal=not suspects, undecided=undecided, differing=tuple(differing))

    async def _suspects(self) -> set[int]:
        """Return the buckets that differ at every look; both stores go on changing meanwhile."""
        parts = self._parts
        suspects: set[int] | None = None
        for look in range(_LOOKS):
            if await parts.hub.mark() == await parts.file.store.mark():
                return set()
            there = await parts.hub.digest()
            here = await parts.file.store.digest()
            found = set(differing(here.buckets, there.buckets))
            suspects = found if suspects is None else suspects & found
            if not suspects:
                break
            await asyncio.sleep(parts.rng.uniform(0.5, 1.5) * _LOOK_AGAIN_S * look)
            await self._flush()
            await parts.follower.catch_up()
        return suspects or set()

    async def _remedies(self, buckets: set[int]) -> Remedies:
        parts = self._parts
        local, hub = await parts.file.store.clock(), await parts.hub.clock()
        here = await read_side(parts.file.store, buckets, clock=local.clock)
        there = await read_side(parts.hub, buckets, clock=hub.clock)
        await self._check(hub)
        return remedies(here, there, now_ms=parts.stamper.now_ms(), may_drop_there=self._went_back)

    async def _apply(self, found: Remedies) -> None:
        parts = self._parts
        await parts.intake.take(found.take)
        for chunk in chunks(found.send):
            await self._absorb(chunk)
        if found.drop_here:
            await parts.file.store.drop(found.drop_here)
            await parts.intake.forget(list(found.drop_here))
        if found.drop_there:
            await parts.hub.drop(found.drop_there)
        logger.info(
            "digests differed: %d versions sent, %d taken, %d keys forgotten here and %d at the hub, %d without proof",
            len(found.send),
            len(found.take),
            len(found.drop_here),
            len(found.drop_there),
            len(found.again),
        )

    async def _write_again(self, buckets: set[int]) -> None:
        """Have both stores take anew what each lacks of keys that no proof decides, unless another replica is at it."""
        parts = self._parts
        own = parts.outbox.actor
        mastery = await parts.hub.take_mastery(REPAIR, holder=own, ttl_ms=_REFILL_MS)
        if mastery.holder != own:
            return
        try:
            hub = await self._hub_clock()
            found = await self._remedies(buckets)
            versions, clock = renamed(found.again, node=own.partition("~")[0], stamper=parts.stamper)
            refused: set[str] = set()
            for chunk in chunks(versions):
                refused |= await self._absorb(chunk, generation=hub.generation)
                await parts.intake.take(version for version in chunk if version.header.actor not in refused)
            covered = {actor: seq for actor, seq in clock.items() if actor not in refused}
            await parts.hub.absorb([], clock=covered, generation=hub.generation)
            await parts.intake.cover(covered)
        finally:
            await parts.hub.resign(mastery)
        if found.again:
            logger.warning("%d keys differed although all was received: written again", len(found.again))
