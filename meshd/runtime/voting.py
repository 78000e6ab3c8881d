"""How a node's agents vote: what they are asked reaches the node's policy, what it says is cast for the agent asked."""

import inspect
import logging
from asyncio import to_thread
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from meshd.errors import ConflictError, InvalidArgumentError, NotElectorError, NotFoundError
from meshd.messages.model import Message
from meshd.votes.model import Choice, Proposal
from meshd.votes.service import VoteOptions, VoteService
from meshd.votes.waggle import MINIMUM_INTENSITY, supports

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ballot:
    """A vote with how strongly it is meant, and why."""

    choice: Choice | bool | str
    intensity: float = 1.0
    reason: str = ""


Policy = Callable[[Proposal, str], Any]
"""Takes a proposal and the agent asked, sync (in a thread) or async; returns a ballot, a choice, or `None` to wait."""


@dataclass(frozen=True, slots=True)
class SupportStrong:
    """The default policy: yes to what is danced for with `minimum` intensity or more, no to the rest."""

    minimum: float | None = None
    """`None` takes the node's setting `votes.waggle_intensity_min`."""

    def __call__(self, proposal: Proposal, agent: str) -> Ballot:
        del agent
        minimum = MINIMUM_INTENSITY if self.minimum is None else self.minimum
        return Ballot(supports(proposal.waggle, minimum=minimum), intensity=proposal.waggle.intensity)

    def within(self, options: VoteOptions) -> "SupportStrong":
        """Return the policy with what it leaves to the settings."""
        return SupportStrong(options.minimum_intensity) if self.minimum is None else self


def support_strong(minimum: float | None = None) -> SupportStrong:
    """Return the default policy; without `minimum`, as the node's settings have it."""
    return SupportStrong(minimum)


class Voting:
    """Casts the votes of one node's agents."""

    def __init__(self, policy: Policy, *, votes: Callable[[], VoteService], incarnation: Callable[[], int]) -> None:
        self._policy = policy
        self._votes = votes
        self._incarnation = incarnation

    async def asked(self, message: Message) -> None:
        """Handle one `waggle` message. What can no longer be voted on is let go; a store that is away is asked again.

        Raises:
            InvalidArgumentError: the message names no proposal, or the policy returned no vote.
        """
        votes, asked = self._votes(), _asked(message)
        try:
            proposal = await votes.get(asked)
            if proposal.state.is_decided:
                return
            policy = self._policy
            if isinstance(policy, SupportStrong):
                policy = policy.within(votes.options)
            said = await _said(policy, proposal, message.to)
            if said is None:
                return
            ballot = said if isinstance(said, Ballot) else Ballot(said)
            await votes.vote(
                proposal.id,
                message.to,
                ballot.choice,
                intensity=ballot.intensity,
                reason=ballot.reason,
                incarnation=self._incarnation(),
            )
        except (ConflictError, NotFoundError, NotElectorError) as exc:
            logger.debug("agent %s does not vote: %s", message.to, exc)


def _asked(message: Message) -> str:
    payload = cast("dict[str, object]", message.payload) if isinstance(message.payload, dict) else {}
    asked = payload.get("proposal")
    if not isinstance(asked, str):
        raise InvalidArgumentError(f"message {message.id} of {message.sender} names no proposal")
    return asked


async def _said(policy: Policy, proposal: Proposal, agent: str) -> Any:
    if inspect.iscoroutinefunction(policy):
        return await policy(proposal, agent)
    said = await to_thread(policy, proposal, agent)
    return await said if inspect.isawaitable(said) else said
