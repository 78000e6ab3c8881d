"""Writing at the hub as an actor it lends: for writes the hub takes first, and for processes without a replica.

Invariant: a dot is used for one version only. A batch whose answer was lost is sent again as it was; when it cannot be
finished, its numbers are passed over for good.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from meshd.errors import FencedError, InvalidArgumentError, NotMasterError, StoreUnreachableError, UnavailableError
from meshd.memory.access import Draft
from meshd.memory.masteries import Masteries
from meshd.memory.model import MAX_BATCH, ActorLease, Applied, Batch, Dot, Item, Pushed, Refusal, Strategy, Version
from meshd.memory.refusals import conflict_of, refusal_of
from meshd.memory.stamping import Stamper, overlooked
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SyncOptions

_TRIES = 3
_ROUNDS = 4
"""How often a batch is made anew: after a lost lease, a gap, or a condition that guarded nothing but a lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A batch the hub has."""

    versions: Sequence[Version]
    pushed: Pushed


class LeasedWriter:
    """Writes, one batch at a time, under a lease taken with the first and renewed by those that come late in it."""

    def __init__(
        self,
        store: MemoryStore,
        stamper: Stamper,
        masteries: Masteries,
        *,
        owner: str,
        lease_ttl: timedelta,
        rng: Random,
    ) -> None:
        self._store = store
        self._stamper = stamper
        self._masteries = masteries
        self._owner = owner
        self._ttl_ms = round(lease_ttl.total_seconds() * 1000)
        self._rng = rng
        self._lock = asyncio.Lock()
        self._lease: ActorLease | None = None
        self._leases = 0
        self._taken = 0
        """The last number the hub has of the actor."""
        self._used = 0
        """The last number a version was made with."""

    async def write(self, drafts: Sequence[Draft], *, strategy: Strategy, wanted: bool = False) -> Sequence[Taken]:
        """Have the hub take the drafts, in order, by batches."""
        async with self._lock:
            taken: list[Taken] = []
            for start in range(0, len(drafts), MAX_BATCH):
                part = drafts[start : start + MAX_BATCH]
                runs = _by_prefix(part, self._masteries) if strategy is Strategy.MASTER_SLAVE else [part]
                taken += [await self._write(run, strategy=strategy, wanted=wanted) for run in runs]
            return taken

    async def aclose(self) -> None:
        """Give the actor and every mastery back, if the hub can be reached. Idempotent."""
        await self._masteries.aclose()
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                await self._store.return_actor(lease)
            except UnavailableError:
                return

    async def _write(self, drafts: Sequence[Draft], *, strategy: Strategy, wanted: bool) -> Taken:
        is_guarded = any(draft.expects is None for draft in drafts)
        prefix = self._masteries.prefix_of(drafts[0].key)
        for _ in range(_ROUNDS):
            master = await self._masteries.take(prefix) if strategy is Strategy.MASTER_SLAVE else None
            batch = self._batch(drafts, lease=await self._leased(), is_guarded=is_guarded, master=master)
            pushed = await self._push(batch, wanted=wanted)
            if pushed.gap:
                self._follow(pushed)
                continue
            verdicts = {reply.applied for reply in pushed.replies}
            if not verdicts & {Applied.CONFLICT, Applied.REFUSED}:
                self._taken = batch.last
                return Taken(versions=batch.versions, pushed=pushed)
            if is_guarded and Applied.CONFLICT in verdicts:
                await self._check_own(drafts, actor=batch.actor)
                is_guarded = False
                continue
            if any(reply.refusal is Refusal.FENCED for reply in pushed.replies):
                self._lease = None
                self._masteries.forget(prefix)
                continue
            await self._refuse(drafts, pushed)
        if strategy is Strategy.MASTER_SLAVE:
            raise NotMasterError(prefix, master="")
        raise StoreUnreachableError("the hub took no batch of this process: its lease is taken over again and again")

    def _batch(
        self, drafts: Sequence[Draft], *, lease: ActorLease, is_guarded: bool, master: tuple[str, int] | None
    ) -> Batch:
        first = self._used + 1
        versions = [self._stamper.make(draft, Dot(lease.actor, first + at)) for at, draft in enumerate(drafts)]
        self._used += len(drafts)
        return Batch(
            actor=lease.actor,
            first=self._taken + 1,
            last=self._used,
            versions=versions,
            conditions=_conditions(drafts, is_guarded=is_guarded, now_ms=self._stamper.now_ms()),
            token=lease.token,
            master=master,
        )

    async def _leased(self) -> ActorLease:
        lease = self._lease
        now_ms = self._stamper.now_ms()
        if lease is not None and lease.until_ms - now_ms < self._ttl_ms // 2:
            try:
                lease = self._lease = await self._store.renew_actor(lease, ttl_ms=self._ttl_ms)
            except FencedError:
                lease = None
        if lease is None:
            self._leases += 1
            owner = f"{self._owner}.{self._leases}"
            lease = self._lease = await self._store.lease_actor(owner=owner, ttl_ms=self._ttl_ms)
            self._taken = self._used = lease.seq
        return lease

    def _follow(self, pushed: Pushed) -> None:
        """Go on where the hub stands, if an answer was lost; leave the actor if the hub lost what it had of it.

        Numbers it forgot may be on replicas, which will bring them back: they are neither used again nor passed over.
        """
        if self._taken < pushed.seq <= self._used:
            self._taken = pushed.seq
        else:
            self._lease = None

    async def _push(self, batch: Batch, *, wanted: bool) -> Pushed:
        for tried in range(1, _TRIES + 1):
            try:
                return await self._store.push(batch, wanted=wanted)
            except StoreUnreachableError:
                if tried == _TRIES:
                    raise
                await asyncio.sleep(self._rng.uniform(0.02, 0.1) * tried)
        raise AssertionError("unreachable")

    async def _check_own(self, drafts: Sequence[Draft], *, actor: str) -> None:
        """Refuse what would hide a version of the actor's earlier holder that its writer had not seen."""
        items = await self._store.get([draft.key for draft in drafts])
        for draft, item in zip(drafts, items, strict=True):
            if overlooked(item, draft, actor=actor):
                raise conflict_of(draft, item)

    async def _refuse(self, drafts: Sequence[Draft], pushed: Pushed) -> None:
        pairs = list(zip(drafts, pushed.replies, strict=True))
        for draft, reply in pairs:
            if reply.applied is Applied.REFUSED:
                raise refusal_of(draft.key, reply.refusal)
        conflicts = [draft for draft, reply in pairs if reply.applied is Applied.CONFLICT]
        if conflicts:
            draft = next((each for each in conflicts if each.expects is not None), conflicts[0])
            raise conflict_of(draft, await self._item(draft.key))

    async def _item(self, key: str) -> Item:
        return (await self._store.get([key]))[0]


def writer_of(store: MemoryStore, stamper: Stamper, *, holder: str, options: SyncOptions, rng: Random) -> LeasedWriter:
    """Return a writer that takes its leases and masteries as `holder`."""
    masteries = Masteries(store, stamper, holder=holder, rules=options.rules, ttl=options.mastery_ttl)
    return LeasedWriter(store, stamper, masteries, owner=holder, lease_ttl=options.lease_ttl, rng=rng)


def _conditions(drafts: Sequence[Draft], *, is_guarded: bool, now_ms: int) -> Mapping[str, tuple[Dot, ...]]:
    """Return what the batch depends on; `is_guarded`: on every item being as its writer saw it."""
    found: dict[str, tuple[Dot, ...]] = {}
    for draft in drafts:
        expects = draft.expects
        if expects is None and is_guarded:
            expects = tuple(version.dot for version in draft.over if version.is_live(now_ms))
        if expects is not None and found.setdefault(draft.key, expects) != expects:
            raise InvalidArgumentError(f"memory key {draft.key!r} is written twice at once over different versions")
    return found


def _by_prefix(drafts: Sequence[Draft], masteries: Masteries) -> list[Sequence[Draft]]:
    """Return the drafts in order, cut where the prefix changes: a batch is written under one epoch."""
    runs: list[list[Draft]] = []
    for draft in drafts:
        if not runs or masteries.prefix_of(runs[-1][0].key) != masteries.prefix_of(draft.key):
            runs.append([])
        runs[-1].append(draft)
    return list(runs)
