"""The ballot box: one record per proposal, changed by read, rule and compare-and-set until the change stands.

Invariant: nobody is told that a proposal is over before its record says so; a vote that was read in time but written
late then finds the record changed, and is refused.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random

from meshd.errors import (
    AlreadyExistsError,
    BackpressureError,
    CorruptDataError,
    NotFoundError,
    RevisionMismatchError,
)
from meshd.records import Guard, Record, RecordStore
from meshd.tasks.model import Durability
from meshd.votes.codec import PREFIX, decode, encode, key_of
from meshd.votes.model import Proposal
from meshd.votes.tally import settle

logger = logging.getLogger(__name__)

RETENTION_MS = 86_400_000
"""How long a proposal is kept after its decision."""
TRIES = 200
"""Most times one change is tried anew because others changed the proposal in between."""
FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 1.0
_PAGE = 100

Rule = Callable[[Proposal, int], Proposal]
"""Takes the proposal and the store's time; returns the same object when there is nothing to change."""

Level = Callable[[], Awaitable[Durability | None]]
"""Returns what a write to the store survives now, `None` where nobody knows."""


async def _unknown() -> Durability | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the proposals."""

    proposals: Sequence[Proposal]
    damaged: int
    """Records among them that cannot be read; they are left out."""
    last: str
    """Id to go on after; empty when there is nothing more."""


class BallotBox:
    """The proposals of one mesh."""

    def __init__(self, records: RecordStore, *, level: Level = _unknown, rng: Random | None = None) -> None:
        self._records = records
        self._level = level
        self._rng = rng or Random()
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def create(self, proposal: Proposal) -> bool:
        """Keep a new proposal; return whether there was none of its id."""
        life_ms = proposal.expires_ms - proposal.created_ms + RETENTION_MS
        try:
            await self._records.create(key_of(proposal.id), encode(proposal), ttl_ms=life_ms)
        except AlreadyExistsError:
            return False
        return True

    async def find(self, proposal_id: str) -> Proposal | None:
        """Return the proposal as it stands, `None` when none of this id is kept."""
        try:
            return await self.get(proposal_id)
        except NotFoundError:
            return None

    async def get(self, proposal_id: str) -> Proposal:
        """Return the proposal as it stands; one whose time is over is ended first.

        Raises:
            NotFoundError: none of this id is kept.
        """
        found, read_ms = await self.read(proposal_id)
        return found if settle(found, now_ms=read_ms) is found else await self.change(proposal_id, _as_it_is)

    async def read(self, proposal_id: str) -> tuple[Proposal, int]:
        """Return what the record says, and the store's time of the read."""
        record = await self._record(proposal_id)
        return decode(record), record.read_ms

    async def page(self, *, after: str = "") -> Page:
        """Return up to a hundred proposals after the one of this id, by id, each as it stands."""
        records = await self._records.list(PREFIX, limit=_PAGE, after=PREFIX + after if after else "")
        found: list[Proposal] = []
        damaged = 0
        for record in records:
            try:
                proposal = decode(record)
                if settle(proposal, now_ms=record.read_ms) is not proposal:
                    proposal = await self.find(proposal.id) or proposal
            except CorruptDataError as exc:
                logger.warning("%s; it is left out", exc)
                damaged += 1
            else:
                found.append(proposal)
        last = records[-1].key.removeprefix(PREFIX) if records else ""
        return Page(proposals=found, damaged=damaged, last=last)

    async def change(self, proposal_id: str, rule: Rule, *, guard: Guard | None = None) -> Proposal:
        """Return the proposal once it stands as `rule` says; nothing is written when the rule changes nothing.

        Raises:
            NotFoundError: none of this id is kept.
            BackpressureError: others changed it all the time.
            FencedError: what `guard` names has ended.
        """
        async with self._turn(proposal_id):
            for attempt in range(TRIES):
                record = await self._record(proposal_id)
                found = decode(record)
                settled = settle(found, now_ms=record.read_ms)
                wanted = rule(found, record.read_ms) if settled is found else settled
                if wanted is found:
                    return found
                written = await self._written(record, found, wanted, guard)
                if written is not None and settled is found:
                    return written
                if written is None:
                    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
                    await asyncio.sleep(self._rng.uniform(0, pause))
        raise BackpressureError(f"proposal {proposal_id}: others changed it {TRIES} times in a row; try again")

    async def confirm(self, proposal_id: str, *, guard: Guard | None = None) -> Proposal:
        """Return the decided proposal once its decision has the level it states.

        Raises:
            UnconfirmedError: too few replicas have it yet.
        """
        level = await self._level()
        if level is None:
            return await self.get(proposal_id)
        return await self.change(proposal_id, lambda found, _: _confirmed(found, level), guard=guard)

    async def _record(self, proposal_id: str) -> Record:
        record = await self._records.get(key_of(proposal_id))
        if record is None:
            raise NotFoundError(
                f"proposal {proposal_id!r} is not kept: it never was, or its decision is over a day old"
            )
        return record

    async def _written(self, record: Record, found: Proposal, wanted: Proposal, guard: Guard | None) -> Proposal | None:
        """Return what stands now, `None` when somebody else was quicker."""
        is_decision = wanted.state.is_decided and not found.state.is_decided
        if is_decision and (level := await self._level()) not in (None, Durability.D3):
            wanted = replace(wanted, durability=level)
        end_ms = wanted.decided_ms if wanted.state.is_decided else wanted.expires_ms
        ttl_ms = max(1_000, end_ms + RETENTION_MS - record.read_ms)
        try:
            await self._records.update(record.key, encode(wanted), revision=record.revision, ttl_ms=ttl_ms, guard=guard)
        except RevisionMismatchError:
            return None
        return wanted

    @asynccontextmanager
    async def _turn(self, proposal_id: str) -> AsyncGenerator[None]:
        """Let the callers of this process change one proposal one after another."""
        lock, waiting = self._turns.get(proposal_id, (asyncio.Lock(), 0))
        self._turns[proposal_id] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(proposal_id)
            if waiting > 1:
                self._turns[proposal_id] = (lock, waiting - 1)


def _as_it_is(proposal: Proposal, _now_ms: int) -> Proposal:
    return proposal


def _confirmed(proposal: Proposal, level: Durability) -> Proposal:
    is_due = proposal.state.is_decided and not proposal.durability
    return replace(proposal, durability=level) if is_due else proposal
