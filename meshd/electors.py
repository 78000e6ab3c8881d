"""The votes of one opened store, and who may vote: who lives there."""

from collections.abc import Sequence

from meshd.backends.port import Backend
from meshd.messages.service import Messages
from meshd.nodes.model import NodeFilter, Verdict
from meshd.settings_votes import VotesSettings
from meshd.tasks.model import Durability
from meshd.votes.agenda import Agenda
from meshd.votes.consensus import ConsensusManager
from meshd.votes.model import Elector
from meshd.votes.service import VoteService


def votes_of(backend: Backend, messages: Messages, settings: VotesSettings, *, proposer: str) -> VoteService:
    """Return the votes of a mesh, for one who proposes as `proposer`.

    Every agent of every node that is not judged dead may vote: one cut off from the store stays counted, so what is
    left of a mesh never decides by a quorum of itself.
    """

    async def electors() -> Sequence[Elector]:
        nodes = await backend.nodes.list(NodeFilter(include_dead=True))
        members = [node for node in nodes if node.verdict is not Verdict.DEAD]
        return [Elector(id=agent.id, incarnation=node.incarnation) for node in members for agent in node.profile.agents]

    async def level() -> Durability:
        return (await backend.health()).durability

    return VoteService(
        backend.records,
        backend.events,
        electors=electors,
        tell=messages.send,
        level=level,
        options=settings.options(proposer=proposer),
    )


def consensus_manager(backend: Backend, messages: Messages, votes: VoteService) -> ConsensusManager:
    """Return the role that ends proposals and announces decisions."""
    return ConsensusManager(votes, Agenda(backend.records), tell=messages.send)
