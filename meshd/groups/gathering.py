"""Offers as they come in: who is asked, who has answered, and which offers are worth writing down. Pure.

Of those who bring the same skills the cheapest are kept, since only they can be chosen; the others are not written.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from zlib import crc32

from meshd.groups.model import Announcement, Offer, SkillNeed
from meshd.groups.shares import DEFAULT_SHARES, ShareRules, is_even, price

MOST_REMEMBERED = 1_000
"""Invited agents beyond which those of longer ago are looked for and forgotten."""


class Gathering:
    """The answers to one round of asking."""

    def __init__(self, asked: Collection[str], *, until_ms: int) -> None:
        """`asked` are the nodes that will answer; what has not come by `until_ms` is waited for no longer."""
        self.until_ms = until_ms
        self.offers: dict[str, Offer] = {}
        self._pending = set(asked)

    def hear(self, node: str, offers: Iterable[Offer], *, needs: Sequence[SkillNeed]) -> None:
        """Take what a node's agents offer; of an agent the latest in its latest life counts."""
        self._pending.discard(node)
        needed = {need.name for need in needs}
        for offer in offers:
            made = offer
            if not needed.issuperset(offer.skills):
                made = replace(offer, skills=tuple(name for name in offer.skills if name in needed))
            before = self.offers.get(offer.agent)
            if made.skills and (before is None or before.incarnation <= offer.incarnation):
                self.offers[offer.agent] = made

    def lose(self, node: str) -> None:
        """Wait no longer for a node that is gone."""
        self._pending.discard(node)

    def is_ripe(self, needs: Sequence[SkillNeed], *, now_ms: int, enough: int) -> bool:
        """Return whether to choose now: all have answered, enough can do everything, or the time is over."""
        if not self._pending or now_ms >= self.until_ms:
            return True
        if len(self.offers) < enough:
            return False
        return {need.name for need in needs} <= {name for offer in self.offers.values() for name in offer.skills}


class Invited:
    """Whom one hub has invited a moment ago, which their offers to its other announcements cannot show yet.

    Announcements made at once would all see the same agent as the cheapest, and all but a few would ask in vain.
    """

    SECONDS = 0.3
    """How long an offer may be behind."""

    def __init__(self) -> None:
        self._at: dict[str, list[float]] = {}

    def note(self, agents: Iterable[str], *, now_s: float) -> None:
        """These are invited now."""
        if len(self._at) > MOST_REMEMBERED:
            self._at = {agent: left for agent in self._at if (left := self._left(agent, now_s=now_s))}
        for agent in agents:
            self._at[agent] = [*self._left(agent, now_s=now_s), now_s]

    def seen(self, agents: Iterable[str]) -> None:
        """One invitation of each of these shows in what they offer from now on."""
        for agent in agents:
            self._at[agent] = self._at.get(agent, [])[1:]

    def counted(self, offers: Mapping[str, Offer], *, now_s: float) -> dict[str, Offer]:
        """Return the offers of who still has a slot free, with these invitations among what is given to them."""
        known = dict(offers)
        for agent in self._at.keys() & offers.keys():
            offer, count = offers[agent], len(self._left(agent, now_s=now_s))
            if 0 < offer.free <= count:
                del known[agent]
            elif count:
                known[agent] = replace(offer, given=offer.given + count)
        return known

    def _left(self, agent: str, *, now_s: float) -> list[float]:
        return [at_s for at_s in self._at.get(agent, ()) if now_s - at_s < self.SECONDS]


def worth_keeping(
    announcement: Announcement, offers: Mapping[str, Offer], *, most: int, shares: ShareRules = DEFAULT_SHARES
) -> list[Offer]:
    """Return at most so many: of each set of skills the cheapest, in turn, equals by the announcement's hash."""
    if len(offers) <= most:
        return list(offers.values())
    even, salt = is_even(announcement.id, shares), crc32(announcement.id.encode())

    def order(offer: Offer) -> tuple[float, int]:
        return (price(offer, even=even, shares=shares), crc32(offer.agent.encode(), salt))

    alike: dict[frozenset[str], list[Offer]] = {}
    for offer in sorted(offers.values(), key=order):
        alike.setdefault(frozenset(offer.skills), []).append(offer)
    in_turn = chain.from_iterable(zip_longest(*alike.values()))
    return [offer for offer in in_turn if offer is not None][:most]
