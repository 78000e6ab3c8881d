"""Which offers make a group: a weighted set cover of at most so many members. Pure.

Of offers that bring the same skills only the cheapest can matter, and none does that brings no more than a cheaper one.
What is left is few: with 4 skills 15 at most, however many offer. As long as it is small the search is exact, by
dynamic programming over sets of skills: the group of the least total price, and one is found whenever there is one.
That is so for up to 12 offers, and for up to 7 skills with any number of offers.

Beyond, it is greedy: the least price per skill newly covered, among those offers that bring so many that the places
left can still suffice. The price of such a group is at most H(k) times the least, k skills in the largest offer
(Chvátal 1979; for coalitions Shehory, Kraus 1998), as far as places allow.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from meshd.groups.model import Offer
from meshd.groups.shares import DEFAULT_SHARES, ShareRules, is_even, price

EXACT_OFFERS = 12
EXACT_WORK = EXACT_OFFERS * 2**EXACT_OFFERS
"""Most steps of a search that is exact: about 50 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """A group that brings every skill asked for."""

    roles: Mapping[str, tuple[str, ...]]
    """Agent → the skills it is to cover: each skill once, at least one for each agent."""
    price: float
    is_least: bool
    """Whether no other group of the size allowed has a lower price."""
    is_even: bool = False
    """Whether scores were not looked at: one announcement in twenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """An offer as the search sees it."""

    offer: Offer
    skills: int
    """A bit for each skill asked for."""
    price: float
    tie: tuple[int, str]


_Group = tuple[float, tuple[int, ...]]
"""Total price, and places in the list of choices, in order."""


def cover(
    names: Iterable[str],
    offers: Iterable[Offer],
    *,
    max_size: int,
    salt: str = "",
    shares: ShareRules = DEFAULT_SHARES,
) -> Cover | None:
    """Return the cheapest group of at most `max_size` that covers all `names`; `None` if none was found.

    One offer of each agent at most; their order changes nothing. The salt is the announcement's id. It decides between
    equal prices, so that announcements made at once do not all ask the same agents first; without it, the name does.
    """
    wanted = tuple(dict.fromkeys(names))
    choices = _choices(wanted, offers, salt=salt, shares=shares)
    everything = (1 << len(wanted)) - 1
    if _union(choices) != everything:
        return None
    is_exact = len(choices) << min(len(wanted), len(choices)) <= EXACT_WORK
    if is_exact:
        found = _least(choices, everything, max_size=max_size)
    else:
        found = _greedy(choices, everything, max_size=max_size)
    return None if found is None else _cover(wanted, found, is_least=is_exact, even=is_even(salt, shares))


def price_with(
    agent: str,
    names: Iterable[str],
    offers: Iterable[Offer],
    *,
    max_size: int,
    salt: str = "",
    shares: ShareRules = DEFAULT_SHARES,
) -> float | None:
    """Return the price of the cheapest group that has this agent in it; `None` if it offers nothing or none was found.

    Beside the price of the group that was chosen it tells why the agent was passed over.
    """
    offered = {offer.agent: offer for offer in offers}
    own = offered.pop(agent, None)
    if own is None or max_size < 1:
        return None
    others = [name for name in names if name not in own.skills]
    rest = cover(others, offered.values(), max_size=max_size - 1, salt=salt, shares=shares)
    return None if rest is None else rest.price + price(own, even=is_even(salt, shares), shares=shares)


def least_size(names: Iterable[str], offers: Iterable[Offer]) -> int | None:
    """Return how many members a group that covers all `names` needs; `None` if some are offered by nobody.

    Where the search is not exact, one as small may not be found, and it is what was found.
    """
    wanted, offered = tuple(dict.fromkeys(names)), tuple(offers)
    sizes = range(len(wanted) + 1)
    return next((size for size in sizes if cover(wanted, offered, max_size=size) is not None), None)


def _choices(wanted: Sequence[str], offers: Iterable[Offer], *, salt: str, shares: ShareRules) -> list[_Choice]:
    """Return the offers that can matter, by price."""
    even = is_even(salt, shares)
    bits = {name: 1 << place for place, name in enumerate(wanted)}
    cheapest: dict[int, _Choice] = {}
    for offer in offers:
        skills = 0
        for name in offer.skills:
            skills |= bits.get(name, 0)
        choice = _Choice(
            offer=offer, skills=skills, price=price(offer, even=even, shares=shares), tie=_tie(offer.agent, salt)
        )
        rival = cheapest.get(skills)
        if skills and (rival is None or (choice.price, choice.tie) < (rival.price, rival.tie)):
            cheapest[skills] = choice
    kept: list[_Choice] = []
    for choice in sorted(cheapest.values(), key=lambda one: (one.price, -one.skills.bit_count(), one.tie)):
        if all(choice.skills | other.skills != other.skills for other in kept):
            kept.append(choice)
    return kept


def _least(choices: Sequence[_Choice], everything: int, *, max_size: int) -> list[_Choice] | None:
    """Return the group of the least price, found by the least price of every set of skills at every size."""
    best: list[dict[int, _Group]] = [{0: (0.0, ())}, *({} for _ in range(min(max_size, everything.bit_count())))]
    for place, choice in enumerate(choices):
        for size in range(len(best) - 1, 0, -1):
            larger = best[size]
            for covered, (paid, members) in best[size - 1].items():
                together = covered | choice.skills
                if together == covered:
                    continue
                group = (paid + choice.price, (*members, place))
                if together not in larger or group < larger[together]:
                    larger[together] = group
    groups = [groups[everything] for groups in best if everything in groups]
    return [choices[place] for place in min(groups)[1]] if groups else None


def _greedy(choices: Sequence[_Choice], everything: int, *, max_size: int) -> list[_Choice] | None:
    group: list[_Choice] = []
    missing = everything
    while missing:
        places = max_size - len(group)
        if places <= 0:
            return None
        enough = math.ceil(missing.bit_count() / places)
        fitting = [one for one in choices if (one.skills & missing).bit_count() >= enough]
        if not fitting:
            return None
        chosen = min(fitting, key=lambda one: (one.price / (one.skills & missing).bit_count(), one.tie))
        group.append(chosen)
        missing &= ~chosen.skills
    return _without_idlers(group, everything)


def _without_idlers(group: Sequence[_Choice], everything: int) -> list[_Choice]:
    """Return the group without those, dearest first, whose skills the others bring too."""
    kept = list(group)
    for choice in sorted(group, key=lambda one: (-one.price, one.tie)):
        others = [one for one in kept if one is not choice]
        if _union(others) == everything:
            kept = others
    return kept


def _cover(wanted: Sequence[str], group: Sequence[_Choice], *, is_least: bool, even: bool) -> Cover:
    """Return the group with each skill given to the best of those who bring it."""
    best_first = sorted(group, key=lambda one: (-one.offer.score, one.offer.agent))
    roles: dict[str, tuple[str, ...]] = {one.offer.agent: () for one in best_first}
    for name in wanted:
        agent = next(one.offer.agent for one in best_first if name in one.offer.skills)
        roles[agent] = (*roles[agent], name)
    return Cover(roles=roles, price=sum(one.price for one in group), is_least=is_least, is_even=even)


def _union(choices: Iterable[_Choice]) -> int:
    union = 0
    for choice in choices:
        union |= choice.skills
    return union


def _tie(agent: str, salt: str) -> tuple[int, str]:
    return (crc32(f"{salt}/{agent}".encode()) if salt else 0, agent)
