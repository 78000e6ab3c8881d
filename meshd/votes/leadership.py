"""Leaders: at most one term per scope is accepted by the store at any time, whatever anybody believes.

A term is the life of one record (ADR 0019). Its guard on every write is what makes a late leader harmless; leases and
clocks only make it rare. Two processes may believe that they lead: one of them can change something.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import msgspec

from meshd.errors import (
    AlreadyExistsError,
    CorruptDataError,
    DeadlineError,
    FencedError,
    MeshError,
    NotLeaderError,
    UnavailableError,
)
from meshd.events import EventBus
from meshd.ids import check_name, new_id
from meshd.records import Guard, Record, RecordStore
from meshd.votes.leading import PREFIX, Accept, Follow, Lease, Stand, Term, decide, is_handed_over, topic_of

logger = logging.getLogger(__name__)

RESIGN_S = 2.0
"""Longest a leader that goes waits for the store to hear of it."""
RETRY_S = (0.1, 0.5)
"""Pause after a call the store did not answer."""
_PAGE = 100


class _Value(msgspec.Struct, frozen=True):
    holder: str
    nonce: str
    lease_ms: int


_decode = msgspec.json.Decoder(_Value).decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, kw_only=True, eq=False)
class Leadership:
    """One term, as its holder sees it."""

    scope: str
    holder: str
    token: int
    """For what is outside the mesh and must refuse a late leader: it keeps the largest it saw, and refuses smaller."""
    lease: Lease
    nonce: str
    until_s: float
    """Monotonic time (of the event loop) up to which it counts on being the leader."""
    clock: Callable[[], float] = time.monotonic
    """The same time, in any thread."""
    is_handed_over: bool = False
    """Whether the leader before resigned."""

    @property
    def guard(self) -> Guard:
        """Condition for writes to records: once another leads, they raise `FencedError` and change nothing."""
        return guard_of(self.scope, self.token)

    @property
    def is_held(self) -> bool:
        """Whether nobody else leads, by this process's clock alone."""
        return self.clock() < self.until_s


def guard_of(scope: str, token: int) -> Guard:
    """Return the condition that the term `token` of a scope goes on."""
    return Guard(key=PREFIX + scope, born=token)


class Candidate:
    """Somebody who wants to lead a scope, for one term."""

    def __init__(self, leaders: "Leaders", scope: str, lease: Lease) -> None:
        self._leaders = leaders
        self._nonce = new_id()
        self._is_unanswered = False
        self._seen = self._resigned = 0
        self.scope = scope
        self.lease = lease

    async def stand(self) -> Leadership | Follow:
        """Return the term won, or when to try again. A term won whose answer was lost is recognised.

        Raises:
            UnavailableError: the store cannot say.
        """
        while True:
            step = self.judge(await self._leaders.current(self.scope))
            if isinstance(step, Follow):
                return step
            won = await self.take(step)
            if won is not None:
                return won

    def judge(self, term: Term | None) -> Stand | Accept | Follow:
        """Return what to do after seeing who leads."""
        if term is not None:
            self._seen = term.token
        return decide(term, nonce=self._nonce, chance=self._leaders.rng.random())

    async def take(self, step: Stand | Accept) -> Leadership | None:
        """Return the term if it can be had, or `None` when somebody else was faster.

        Raises:
            UnavailableError: the store cannot say.
        """
        clock = asyncio.get_running_loop().time
        asked_s = clock()
        try:
            if isinstance(step, Stand):
                self._is_unanswered = True
                token = await self._leaders.begin(self.scope, self._nonce, self.lease)
            else:
                token = step.token
                await self._leaders.prolong(guard_of(self.scope, token), self._nonce, self.lease)
        except (AlreadyExistsError, FencedError):
            # Whose it is, is seen by the next look: perhaps our own, whose answer was lost on the way.
            return None
        self._is_unanswered = False
        return Leadership(
            scope=self.scope,
            holder=self._leaders.holder,
            token=token,
            lease=self.lease,
            nonce=self._nonce,
            until_s=self.lease.trusted_until(asked_s),
            clock=clock,
            is_handed_over=is_handed_over(seen=self._seen, resigned=self._resigned),
        )

    def heard(self, body: Mapping[str, Any]) -> None:
        """Take note of a hint on the scope's topic."""
        token = body.get("resigned")
        if isinstance(token, int):
            self._resigned = token

    async def withdraw(self) -> None:
        """Make sure, as far as the store can be reached, that no term is left which nobody knows of."""
        if not self._is_unanswered:
            return
        with suppress(MeshError, TimeoutError):
            async with asyncio.timeout(RESIGN_S):
                term = await self._leaders.current(self.scope)
                if term is not None and term.nonce == self._nonce:
                    await self._leaders.end(guard_of(self.scope, term.token))


class Leaders:
    """Elections of one mesh, for one who may lead."""

    def __init__(self, records: RecordStore, events: EventBus, *, holder: str, rng: Random | None = None) -> None:
        self._records = records
        self._events = events
        self.holder = holder
        self.rng = rng or Random()

    async def current(self, scope: str) -> Term | None:
        """Return who leads the scope now, or `None`."""
        record = await self._records.get(PREFIX + check_name("scope", scope))
        return None if record is None else _term(record)

    async def list(self, prefix: str = "") -> Sequence[Term]:
        """Return the present terms of every scope that starts with `prefix`, sorted by scope."""
        terms: list[Term] = []
        after = ""
        while page := await self._records.list(PREFIX + prefix, limit=_PAGE, after=after):
            terms += [_term(record) for record in page]
            after = page[-1].key
            if len(page) < _PAGE:
                break
        return terms

    @asynccontextmanager
    async def leader(
        self, scope: str, *, lease: Lease | None = None, wait: timedelta | None = None
    ) -> AsyncGenerator[Leadership]:
        """Wait to be elected, then lead for the length of the block; the block is cancelled when leadership ends.

        Whatever the block writes with the leadership's guard, or sends to somebody who compares its token, counts only
        while no other has been elected. Leaving the block resigns, and somebody who waits is elected at once.

        Raises:
            NotLeaderError: leadership ended before the block did: the store was away for too long, or the term was
                taken from it.
            DeadlineError: it was not elected within `wait`.
        """
        leadership = await self._elected(Candidate(self, check_name("scope", scope), lease or Lease()), wait)
        async with self.holding(leadership):
            yield leadership

    @asynccontextmanager
    async def holding(self, leadership: Leadership) -> AsyncGenerator[None]:
        """Keep a term for the length of the block, renewed; cancel the block when it ends, else resign after it.

        Raises:
            NotLeaderError: leadership ended before the block did.
        """
        limit = asyncio.timeout_at(leadership.until_s)
        try:
            async with limit, self._renewed(leadership, limit):
                if not leadership.is_handed_over:
                    await asyncio.sleep(leadership.lease.delay.total_seconds())
                logger.info("%s leads %s, term %d", leadership.holder, leadership.scope, leadership.token)
                yield
        except TimeoutError as exc:
            if not limit.expired():
                raise
            logger.warning("%s no longer leads %s", leadership.holder, leadership.scope)
            raise NotLeaderError(leadership.scope, token=leadership.token) from exc
        finally:
            await self._resign(leadership)

    async def begin(self, scope: str, nonce: str, lease: Lease) -> int:
        """Begin a term; return its token.

        Raises:
            AlreadyExistsError: somebody leads.
        """
        return await self._records.create(PREFIX + scope, self._value(nonce, lease), ttl_ms=lease.length_ms)

    async def prolong(self, guard: Guard, nonce: str, lease: Lease) -> None:
        """Renew a term; idempotent, so a lost answer costs nothing.

        Raises:
            FencedError: it has ended.
        """
        await self._records.put(guard.key, self._value(nonce, lease), ttl_ms=lease.length_ms, guard=guard)

    async def end(self, guard: Guard) -> bool:
        """End a term now and tell those who wait; return whether it had not ended already."""
        try:
            await self._records.delete(guard.key, guard=guard)
        except FencedError:
            return False
        await self._events.publish(topic_of(guard.key.removeprefix(PREFIX)), {"resigned": guard.born})
        return True

    def _value(self, nonce: str, lease: Lease) -> bytes:
        return _encode(_Value(holder=self.holder, nonce=nonce, lease_ms=lease.length_ms))

    async def _elected(self, candidate: Candidate, wait: timedelta | None) -> Leadership:
        limit = asyncio.timeout(None if wait is None else wait.total_seconds())
        try:
            with suppress(UnavailableError):
                if isinstance(found := await candidate.stand(), Leadership):
                    return found
            async with limit:
                while True:
                    try:
                        return await self._campaign(candidate)
                    except UnavailableError as exc:
                        logger.debug("standing for %s is not possible for now: %s", candidate.scope, exc)
                        await asyncio.sleep(self.rng.uniform(*RETRY_S))
        except TimeoutError as exc:
            await candidate.withdraw()
            raise DeadlineError(f"{self.holder} was not elected leader of {candidate.scope} within {wait}") from exc
        except BaseException:
            await candidate.withdraw()
            raise

    async def _campaign(self, candidate: Candidate) -> Leadership:
        async with self._events.subscribe(topic_of(candidate.scope)) as hints:
            while True:
                found = await candidate.stand()
                if isinstance(found, Leadership):
                    return found
                hint = await hints.get(timeout_ms=round(found.seconds * 1000))
                if hint is not None:
                    candidate.heard(hint.body)

    @asynccontextmanager
    async def _renewed(self, leadership: Leadership, limit: asyncio.Timeout) -> AsyncGenerator[None]:
        renewing = asyncio.create_task(self._renew(leadership, limit), name=f"meshd leader {leadership.scope}")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})

    async def _renew(self, leadership: Leadership, limit: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        pause_s = leadership.lease.renewal_s
        while not limit.expired():
            await asyncio.sleep(pause_s)
            asked_s = loop.time()
            try:
                await self.prolong(leadership.guard, leadership.nonce, leadership.lease)
            except UnavailableError as exc:
                logger.debug("renewing %s is not possible for now: %s", leadership.scope, exc)
                pause_s = leadership.lease.renewal_s * self.rng.uniform(*RETRY_S)
                continue
            except MeshError as exc:
                logger.info("the term %d of %s has ended: %s", leadership.token, leadership.scope, exc)
                leadership.until_s = asked_s
            else:
                leadership.until_s = leadership.lease.trusted_until(asked_s)
                pause_s = leadership.lease.renewal_s
            if not limit.expired():
                limit.reschedule(leadership.until_s)

    async def _resign(self, leadership: Leadership) -> None:
        leadership.until_s = 0.0
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(RESIGN_S):
                if await self.end(leadership.guard):
                    logger.info("%s resigned from %s", leadership.holder, leadership.scope)


def _term(record: Record) -> Term:
    try:
        value = _decode(record.value)
    except msgspec.MsgspecError as exc:
        raise CorruptDataError(f"record {record.key!r} does not name a leader: {exc}; delete it") from exc
    return Term(
        scope=record.key.removeprefix(PREFIX),
        holder=value.holder,
        token=record.born,
        nonce=value.nonce,
        since_ms=record.born_ms,
        left_ms=value.lease_ms if record.expires_ms is None else record.expires_ms - record.read_ms,
        lease_ms=value.lease_ms,
    )
