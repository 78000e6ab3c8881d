"""Telling electors: that they are asked, and how it ended. Each message has an id of its own, so each is told once."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, Protocol

from meshd.errors import BackpressureError
from meshd.messages.model import MessageType
from meshd.votes.model import Elector, Proposal
from meshd.votes.tally import tally

CONSENSUS = "role:consensus"
"""Addressee of vote messages, and sender of decisions."""
VOTES_TOPIC = "votes"
"""Hints that a proposal was made or decided: whoever plays the consensus manager looks at its agenda."""
DECISION_KEPT = timedelta(hours=24)
_AT_ONCE = 20


class Tell(Protocol):
    """Keeps a message for its addressee; the same id again changes nothing, also after it was handled."""

    async def __call__(self, to: str, type: str, payload: Any, *, id: str, ttl: timedelta, sender: str) -> object: ...


def proposal_topic(proposal_id: str) -> str:
    """Return the hint topic on which the decision of a proposal is told."""
    return f"proposal:{proposal_id}"


async def tell_proposal(tell: Tell, proposal: Proposal, *, to: Collection[str] | None = None) -> frozenset[str]:
    """Send its electors, or some of them, the proposal, as a waggle dance; return those who had no room for it."""
    waggle = proposal.waggle
    payload = {
        "proposal": proposal.id,
        "type": proposal.type,
        "proposer": proposal.proposer,
        "intensity": waggle.intensity,
        "duration_ms": waggle.duration_ms,
        "repetitions": waggle.repetitions,
        "angle": waggle.angle,
        "expires_ms": proposal.expires_ms,
    }
    ttl = timedelta(milliseconds=proposal.expires_ms - proposal.created_ms)

    async def send(elector: Elector) -> None:
        await tell(
            elector.id, MessageType.WAGGLE, payload, id=f"waggle:{proposal.id}", ttl=ttl, sender=proposal.proposer
        )

    return await _each(proposal, to, send)


async def tell_decision(tell: Tell, proposal: Proposal, *, to: Collection[str] | None = None) -> frozenset[str]:
    """Send its electors, or some of them, how the proposal ended; return those who had no room for it."""
    counted = tally(proposal)
    payload = {
        "proposal": proposal.id,
        "type": proposal.type,
        "state": proposal.state.value,
        "yes": counted.yes,
        "no": counted.no,
        "abstain": counted.abstain,
        "need": counted.need,
        "total": counted.total,
        "weighted": counted.weighted,
        "decided_ms": proposal.decided_ms,
        "durability": proposal.durability,
    }

    async def send(elector: Elector) -> None:
        await tell(
            elector.id,
            MessageType.DECISION,
            payload,
            id=f"decision:{proposal.id}",
            ttl=DECISION_KEPT,
            sender=CONSENSUS,
        )

    return await _each(proposal, to, send)


async def _each(
    proposal: Proposal, to: Collection[str] | None, send: Callable[[Elector], Awaitable[None]]
) -> frozenset[str]:
    """Send to all; one whose inbox is full keeps nobody else from being told."""
    electors = [elector for elector in proposal.electorate if to is None or elector.id in to]

    async def has_room(elector: Elector) -> bool:
        try:
            await send(elector)
        except BackpressureError:
            return False
        return True

    told: list[bool] = []
    for start in range(0, len(electors), _AT_ONCE):
        told += await asyncio.gather(*(has_room(elector) for elector in electors[start : start + _AT_ONCE]))
    return frozenset(elector.id for elector, is_told in zip(electors, told, strict=True) if not is_told)
