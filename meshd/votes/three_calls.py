"""Three calls to agree on a value: propose it, vote on it, ask whether so many said yes.

A value once reached never changes: votes are final, and a second proposal under the same id is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from meshd.errors import NotFoundError
from meshd.votes.model import Elector, ProposalState, Quorum
from meshd.votes.service import VoteService

AGREEMENT = "agreement"
OPEN_QUORUM = Quorum(permil=0)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was agreed on. An agreed `None` is an agreement too."""

    value: Any


class ThreeCalls:
    """Agreement among the live agents of the mesh, or among those named here."""

    def __init__(
        self,
        votes: VoteService,
        *,
        electorate: Iterable[Elector | str] | None = None,
        timeout: timedelta = timedelta(hours=24),
    ) -> None:
        self._votes = votes
        self._electorate = None if electorate is None else tuple(electorate)
        self._timeout = timeout

    async def propose(self, id: str, value: Any, agent: str) -> None:
        """Open the vote on a value. The same again changes nothing: votes are kept.

        Raises:
            AlreadyExistsError: another value was proposed under this id.
        """
        await self._votes.propose(
            value,
            id=id,
            type=AGREEMENT,
            electorate=self._electorate,
            quorum=OPEN_QUORUM,
            timeout=self._timeout,
            proposer=agent,
        )

    async def vote(self, id: str, agent: str, support: bool) -> bool:
        """Count one agent's vote, once; return whether there is such a proposal. Raises as `VoteService.vote`."""
        try:
            await self._votes.vote(id, agent, support)
        except NotFoundError:
            return False
        return True

    async def reach_consensus(self, id: str, quorum: int) -> Agreement | None:
        """Return the value if `quorum` agents said yes to it, or if it was reached before; `None` otherwise."""
        try:
            proposal = await self._votes.reach(id, count=quorum)
        except NotFoundError:
            return None
        return Agreement(proposal.content) if proposal.state is ProposalState.ACCEPTED else None
