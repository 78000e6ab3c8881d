"""The ballot box: one record per proposal, changed by read, rule and compare-and-set until the change stands.

Invariant: nobody is told that a proposal is over before its record says so; a vote that was read in time but written
late then finds the record changed, and is refused. Callers of one process share reads and writes, each as if it came
right after the one before.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from random import Random

from meshd.errors import (
    AlreadyExistsError,
    BackpressureError,
    CorruptDataError,
    MeshError,
    NotFoundError,
    RevisionMismatchError,
)
from meshd.pauses import jittered
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
AT_ONCE = 100
"""Most callers that share one write."""
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


_Outcome = Proposal | MeshError


@dataclass(slots=True, kw_only=True, eq=False)
class _Ask:
    """One caller's wish."""

    rule: Rule
    guard: Guard | None
    outcome: _Outcome | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Line:
    """The callers of this process that want to change one proposal."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    asks: dict[_Ask, None] = field(default_factory=dict[_Ask, None])
    """Those not answered yet, in their order."""
    callers: int = 0


class BallotBox:
    """The proposals of one mesh."""

    def __init__(self, records: RecordStore, *, level: Level = _unknown, rng: Random | None = None) -> None:
        self._records = records
        self._level = level
        self._rng = rng or Random()
        self._lines: dict[str, _Line] = {}

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

        Callers that come meanwhile are served by one read and one write, in their order.

        Raises:
            NotFoundError: none of this id is kept.
            BackpressureError: others changed it all the time.
            FencedError: what `guard` names has ended.
        """
        ask = _Ask(rule=rule, guard=guard)
        async with self._turn(proposal_id, ask) as line:
            if ask.outcome is None:
                await asyncio.sleep(0)  # who calls at the same time comes along, also on a store that answers at once
            while ask.outcome is None:
                await self._serve(proposal_id, line)
        if isinstance(ask.outcome, Proposal):
            return ask.outcome
        raise ask.outcome

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

    async def _serve(self, proposal_id: str, line: _Line) -> None:
        """Answer those at the head of the line that one write can serve."""
        guard = next(iter(line.asks)).guard
        asks = list(islice(takewhile(lambda ask: ask.guard == guard, line.asks), AT_ONCE))
        try:
            outcomes = await self._changed(proposal_id, [ask.rule for ask in asks], guard)
        except MeshError as exc:
            outcomes = [exc] * len(asks)
        for ask, outcome in zip(asks, outcomes, strict=True):
            ask.outcome = outcome
            line.asks.pop(ask, None)

    async def _changed(self, proposal_id: str, rules: Sequence[Rule], guard: Guard | None) -> Sequence[_Outcome]:
        """Return what comes of each rule, applied one after another, once the proposal stands as they say."""
        for attempt in range(TRIES):
            record = await self._record(proposal_id)
            found = decode(record)
            settled = settle(found, now_ms=record.read_ms)
            outcomes, wanted = _applied(rules if settled is found else (), settled, record.read_ms)
            if wanted is found:
                return outcomes
            written = await self._written(record, found, wanted, guard)
            if written is not None and settled is found:
                return [written if isinstance(each, Proposal) and each.state.is_decided else each for each in outcomes]
            if written is None:
                await asyncio.sleep(jittered(self._rng, attempt, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S))
        raise BackpressureError(f"proposal {proposal_id}: others changed it {TRIES} times in a row; try again")

    @asynccontextmanager
    async def _turn(self, proposal_id: str, ask: _Ask) -> AsyncGenerator[_Line]:
        """Wait in the line for a proposal; who has the turn serves those behind as well."""
        line = self._lines.setdefault(proposal_id, _Line())
        line.asks[ask] = None
        line.callers += 1
        try:
            async with line.turn:
                yield line
        finally:
            line.asks.pop(ask, None)
            line.callers -= 1
            if not line.callers:
                del self._lines[proposal_id]


def _applied(rules: Sequence[Rule], found: Proposal, now_ms: int) -> tuple[Sequence[_Outcome], Proposal]:
    """Return what comes of each rule and the proposal after all; a rule that refuses changes nothing."""
    outcomes: list[_Outcome] = []
    current = found
    for rule in rules:
        try:
            current = rule(current, now_ms)
        except MeshError as exc:
            outcomes.append(exc)
        else:
            outcomes.append(current)
    return outcomes, current


def _as_it_is(proposal: Proposal, _now_ms: int) -> Proposal:
    return proposal


def _confirmed(proposal: Proposal, level: Durability) -> Proposal:
    is_due = proposal.state.is_decided and not proposal.durability
    return replace(proposal, durability=level) if is_due else proposal
