"""The consensus manager: ends what time ended, announces decisions, takes votes that come as messages.

Everything it does may be done twice or by two at once: messages have ids of their own, and changes are compared and
set. So its death loses no vote and no decision; the next round of the next manager goes on.
"""

import logging
from dataclasses import dataclass
from typing import Any, cast

from meshd.errors import InvalidArgumentError, MeshError, NotFoundError, UnavailableError
from meshd.messages.model import Message
from meshd.records import Guard
from meshd.votes.agenda import Agenda, Entry
from meshd.votes.announcing import CONSENSUS, VOTES_TOPIC, Tell, tell_decision, tell_proposal
from meshd.votes.box import RETENTION_MS
from meshd.votes.model import Proposal, ProposalState
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
    """Proposals that could not be dealt with; the next round tries them again."""
    due_in_ms: int | None = None
    """When time brings something to do, if nothing else does; `None` while nothing is pending."""


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
        try:
            proposal = await self._votes.get(entry.proposal_id)
        except NotFoundError:
            if entry.age_ms > ORPHAN_MS:
                await self._agenda.done(entry.proposal_id)
            return Round()
        except UnavailableError:
            raise
        except MeshError:
            logger.exception("proposal %s cannot be read", entry.proposal_id)
            return Round(failed=1)
        if not proposal.state.is_decided:
            return await self._wait_for(entry, proposal)
        if not await self._announce(proposal, guard):
            return Round(failed=1)
        return Round(announced=1, expired=int(proposal.state is ProposalState.EXPIRED))

    async def _wait_for(self, entry: Entry, proposal: Proposal) -> Round:
        """Return when a pending proposal is due; tell the electors what its proposer may have died before telling."""
        timeout_ms = proposal.expires_ms - proposal.created_ms
        if not entry.is_told and entry.age_ms <= GRACE_MS:
            return Round(pending=1, due_in_ms=min(timeout_ms, GRACE_MS) - entry.age_ms + 1)
        if not entry.is_told and await tell_proposal(self._tell, proposal):
            await self._agenda.told(proposal.id, ttl_ms=timeout_ms + RETENTION_MS)
        return Round(pending=1, due_in_ms=max(1, timeout_ms - entry.age_ms))

    async def _announce(self, proposal: Proposal, guard: Guard | None) -> bool:
        """Tell the electors, then note that they were told, then strike the entry; each step may be repeated."""
        if not proposal.announced:
            confirmed = await self._votes.confirm(proposal.id, guard=guard)
            if not await tell_decision(self._tell, confirmed):
                return False
            await self._votes.announced(proposal.id, guard=guard)
        await self._agenda.done(proposal.id)
        return True


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
