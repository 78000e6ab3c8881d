"""What the probers as a whole think of each node, as far as this one heard.

A claim of a higher number wins; of equal ones the worse: so all who heard the same think the same, in whatever order.
Only the node itself makes claims, one higher than what it refutes.

Invariant: kept per node at most once, and nothing is kept of a node nobody ever doubted.
"""

from collections.abc import Collection
from dataclasses import dataclass

from meshd.nodes.gossiping import Rumours
from meshd.nodes.probe_wire import Gossip, Standing
from meshd.nodes.suspicion import Suspicion


@dataclass(slots=True)
class _Opinion:
    news: Gossip
    suspicion: Suspicion | None = None


class Opinions:
    """Hears news and passes on what is new, through `rumours`."""

    def __init__(self, rumours: Rumours, *, interval: float) -> None:
        self._rumours = rumours
        self._interval = interval
        self._opinions: dict[str, _Opinion] = {}

    @property
    def doubted(self) -> frozenset[str]:
        """Nodes that are suspected or failed."""
        found = self._opinions.items()
        return frozenset(node for node, opinion in found if opinion.news.standing is not Standing.ALIVE)

    @property
    def ends(self) -> float | None:
        """When the next suspicion ends."""
        suspicions = [opinion.suspicion for opinion in self._opinions.values()]
        return min((suspicion.ends for suspicion in suspicions if suspicion is not None), default=None)

    def doubt(self, node: str) -> Gossip | None:
        """Return what is said against a node: it must hear that to refute it."""
        opinion = self._opinions.get(node)
        return None if opinion is None or opinion.news.standing is Standing.ALIVE else opinion.news

    def has_failed(self, node: str) -> bool:
        doubt = self.doubt(node)
        return doubt is not None and doubt.standing is Standing.FAILED

    def hear(self, news: Gossip, now: float, *, members: int) -> None:
        """Take in news of a member in the life that is meant."""
        old = self._opinions.get(news.node)
        claim, standing = (0, Standing.ALIVE) if old is None else (old.news.claim, old.news.standing)
        if old is not None and old.suspicion is not None and (news.claim, news.standing) == (claim, standing):
            if old.suspicion.confirm(news.by):
                self._rumours.add(news, members=members)
        elif (news.claim, news.standing) > (claim, standing):
            opinion = self._opinions[news.node] = _Opinion(news)
            if news.standing is Standing.SUSPECT:
                opinion.suspicion = Suspicion.of(began=now, interval=self._interval, members=members)
                opinion.suspicion.confirm(news.by)
            self._rumours.add(news, members=members)

    def suspect(self, node: str, now: float, *, life: int, by: str, members: int) -> None:
        """Say that a node answers nobody; one that has failed has."""
        opinion = self._opinions.get(node)
        claim = 0 if opinion is None else opinion.news.claim
        self.hear(Gossip(node, life, claim, Standing.SUSPECT, by), now, members=members)

    def settle(self, now: float, *, members: int) -> None:
        """Make failures of the suspicions whose time is over."""
        for node, opinion in self._opinions.items():
            if opinion.suspicion is not None and opinion.suspicion.ends <= now:
                old = opinion.news
                opinion.news = Gossip(node, old.life, old.claim, Standing.FAILED, old.by)
                opinion.suspicion = None
                self._rumours.add(opinion.news, members=members)

    def delay(self, by: float) -> None:
        """Give every suspect that much more time."""
        for opinion in self._opinions.values():
            if opinion.suspicion is not None:
                opinion.suspicion.began += by

    def forget(self, nodes: Collection[str]) -> None:
        """Drop what is thought of these: they are gone, or live another life."""
        for node in nodes:
            self._opinions.pop(node, None)
            self._rumours.forget(node)
