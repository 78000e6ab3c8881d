"""The consensus manager: ends what time ended, announces decisions, takes votes that come as messages.

Everything it does may be done twice or by two at once: messages have ids of their own, and changes are compared and
set. So its death loses no vote and no decision; the next round of the next manager goes on.
"""

import logging
from dataclasses import dataclass
from typing import Any, cast

from meshd.errors import (
    BackpressureError,
    FencedError,
    InvalidArgumentError,
    MeshError,
    NotFoundError,
    UnavailableError,
    UnconfirmedError,
)
from meshd.messages.model import Message
from meshd.records import Guard
from meshd.votes.agenda import Agenda, Entry
from meshd.votes.announcing import CONSENSUS, VOTES_TOPIC, Tell, tell_decision, tell_proposal
from meshd.votes.box import RETENTION_MS
from meshd.votes.model import Proposal, ProposalState
from meshd.votes.retrying import Retries
from meshd.votes.service import VoteService

logger = logging.getLogger(__name__)

GRACE_MS = 2_000
"""How long whoever proposes is given to tell the electors itself."""
ORPHAN_MS = 60_000
"""Age at which an entry whose proposal was never made is struck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round did."""

    pending: int = 0
    announced: int = 0
    """Decisions that every elector has been sent now."""
    expired: int = 0
    """Those of them that time made."""
    failed: int = 0
    """Proposals that could not be dealt with; they are tried again, each time after a longer wait."""
    due_in_ms: int | None = None
    """When time brings something to do, if nothing else does; `None` while nothing is pending or failed."""


class ConsensusManager:
    """One role of the mesh; `run_once` is one round of it."""

    name = "consensus"
    addressee = CONSENSUS
    topics = (VOTES_TOPIC,)
    """Hints after which a round is due at once."""

    def __init__(self, votes: VoteService, agenda: Agenda, *, tell: Tell) -> None:
        self._votes = votes
        self._agenda = agenda
        self._tell = tell
        self._retries = Retries()

    async def run_once(self, guard: Guard | None = None) -> Round:
        """Go through the agenda once; one proposal that fails keeps no other from its turn.

        Raises:
            FencedError: the leadership that `guard` names has ended.
            UnavailableError: the store is away.
        """
        done = Round()
        after = ""
        while page := await self._agenda.page(after=after):
            for entry in page:
                done = _sum(done, await self._deal_with(entry, guard))
            after = page[-1].proposal_id
        return done

    async def take(self, message: Message) -> dict[str, Any]:
        """Count the vote a message carries, and return what to reply: whether it counts, or why not.

        Raises:
            UnavailableError: the store is away; the message is to be delivered again.
        """
        try:
            ballot = _ballot(message)
            proposal = await self._votes.vote(ballot.pop("proposal"), message.sender, ballot.pop("choice"), **ballot)
        except UnavailableError:
            raise
        except MeshError as exc:
            return {"counted": False, "error": exc.code, "message": str(exc)}
        return {"counted": True, "state": proposal.state.value}

    async def _deal_with(self, entry: Entry, guard: Guard | None) -> Round:
        if wait_ms := self._retries.wait_ms(entry.proposal_id, age_ms=entry.age_ms):
            return Round(due_in_ms=wait_ms)
        try:
            done = await self._turn(entry, guard)
        except MeshError as exc:
            if _concerns_all(exc):
                raise
            logger.warning("proposal %s cannot be dealt with: %s", entry.proposal_id, exc)
            return Round(failed=1, due_in_ms=self._retries.failed(entry.proposal_id, age_ms=entry.age_ms))
        self._retries.done(entry.proposal_id)
        return done

    async def _turn(self, entry: Entry, guard: Guard | None) -> Round:
        try:
            proposal = await self._votes.get(entry.proposal_id)
        except NotFoundError:
            if entry.age_ms > ORPHAN_MS:
                await self._strike(entry)
            return Round()
        if not proposal.state.is_decided:
            return await self._wait_for(entry, proposal)
        return await self._announce(entry, proposal, guard)

    async def _wait_for(self, entry: Entry, proposal: Proposal) -> Round:
        """Return when a pending proposal is due; tell the electors what its proposer may have died before telling."""
        timeout_ms = proposal.expires_ms - proposal.created_ms
        if not entry.is_told and entry.age_ms <= GRACE_MS:
            return Round(pending=1, due_in_ms=min(timeout_ms, GRACE_MS) - entry.age_ms + 1)
        due_in_ms = max(1, timeout_ms - entry.age_ms)
        if entry.is_told:
            return Round(pending=1, due_in_ms=due_in_ms)
        name = _asking(entry)
        if wait_ms := self._retries.wait_ms(name, age_ms=entry.age_ms):
            return Round(pending=1, due_in_ms=min(due_in_ms, wait_ms))
        if untold := await tell_proposal(self._tell, proposal, to=self._retries.untold(name)):
            wait_ms = self._retries.failed(name, age_ms=entry.age_ms, untold=untold)
            return Round(pending=1, due_in_ms=min(due_in_ms, wait_ms))
        self._retries.done(name)
        await self._agenda.told(proposal.id, ttl_ms=timeout_ms + RETENTION_MS)
        return Round(pending=1, due_in_ms=due_in_ms)

    async def _announce(self, entry: Entry, proposal: Proposal, guard: Guard | None) -> Round:
        """Tell the electors, then note that they were told, then strike the entry; each step may be repeated."""
        if not proposal.announced:
            name = _telling(entry)
            if wait_ms := self._retries.wait_ms(name, age_ms=entry.age_ms):
                return Round(due_in_ms=wait_ms)
            confirmed = await self._votes.confirm(proposal.id, guard=guard)
            if untold := await tell_decision(self._tell, confirmed, to=self._retries.untold(name)):
                wait_ms = self._retries.failed(name, age_ms=entry.age_ms, untold=untold)
                return Round(failed=1, due_in_ms=wait_ms)
            await self._votes.announced(proposal.id, guard=guard)
        await self._strike(entry)
        return Round(announced=1, expired=int(proposal.state is ProposalState.EXPIRED))

    async def _strike(self, entry: Entry) -> None:
        await self._agenda.done(entry.proposal_id)
        self._retries.done(_asking(entry), _telling(entry))


def _concerns_all(error: MeshError) -> bool:
    """Return whether the next proposal would meet this error too: the store is away, or the leadership has ended."""
    is_own = isinstance(error, BackpressureError | UnconfirmedError)
    return isinstance(error, FencedError | UnavailableError) and not is_own


def _asking(entry: Entry) -> str:
    return f"waggle/{entry.proposal_id}"


def _telling(entry: Entry) -> str:
    return f"decision/{entry.proposal_id}"


def _ballot(message: Message) -> dict[str, Any]:
    """Return the arguments of a vote.

    Raises:
        InvalidArgumentError: the payload is no vote.
    """
    known = {"proposal", "choice", "intensity", "reason", "incarnation"}
    payload = cast("dict[str, Any]", message.payload) if isinstance(message.payload, dict) else {}
    if not {"proposal", "choice"} <= set(payload) <= known:
        raise InvalidArgumentError(f"a vote needs proposal and choice, and may have {', '.join(sorted(known))}")
    numbers = (payload.get("intensity", 1.0), payload.get("incarnation") or 0)
    texts = (payload["proposal"], payload.get("reason", ""))
    if not all(isinstance(each, int | float) for each in numbers) or not all(isinstance(each, str) for each in texts):
        raise InvalidArgumentError("a vote's proposal and reason are texts, its intensity and incarnation numbers")
    return dict(payload)


def _sum(one: Round, other: Round) -> Round:
    due = [each.due_in_ms for each in (one, other) if each.due_in_ms is not None]
    return Round(
        pending=one.pending + other.pending,
        announced=one.announced + other.announced,
        expired=one.expired + other.expired,
        failed=one.failed + other.failed,
        due_in_ms=min(due, default=None),
    )
