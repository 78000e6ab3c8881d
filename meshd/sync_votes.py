"""Votes for code without an event loop: `votes` of a `SyncMesh`. A facade, with no logic of its own."""

from meshd.sync_memory import Portal
from meshd.votes.service import VoteService


class SyncVotes:
    """Deciding together; see `VoteService`."""

    def __init__(self, portal: Portal, votes: VoteService) -> None:
        self.options = votes.options
        self.propose = portal.wrap(votes.propose)
        self.vote = portal.wrap(votes.vote)
        self.reach = portal.wrap(votes.reach)
        self.get = portal.wrap(votes.get)
        self.list = portal.wrap(votes.list)
        self.decision = portal.wrap(votes.decision)
        self.statistics = portal.wrap(votes.statistics)
        self.confirm = portal.wrap(votes.confirm)
        self.announced = portal.wrap(votes.announced)
