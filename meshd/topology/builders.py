"""The shapes: which links there are among a sorted list of agents before anybody has spoken. Pure.

| Shape | Links among n agents | What its loss does |
| --- | --- | --- |
| star | n - 1 | the hub's isolates all; a leaf's only itself |
| mesh | n (n - 1) / 2 | nothing: all others stay connected |
| ring | n (1 for 2, 0 for 1) | one agent or one link: nothing; two: up to half |
| tree | n - 1 | an agent's cuts off what is below it |
| hybrid | of a ring and a tree: 2 n - 2 from 6 on | what is left of either keeps it together |
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from meshd.errors import InvalidArgumentError
from meshd.topology.model import Shape

Link = tuple[str, str]
"""Two agents that may talk, either way; the one that sorts first comes first."""

BRANCHES = 4
"""Most children of one agent in a tree: 1,000 agents are five levels deep."""

PARTS = (Shape.RING, Shape.TREE)
"""What a hybrid is made of unless told otherwise: survives any one loss, and no two agents are far apart."""


def star(agents: Iterable[str], *, hub: str | None = None) -> frozenset[Link]:
    """Return everybody linked with `hub`; without one the first agent is it.

    Raises:
        InvalidArgumentError: `hub` is not among the agents.
    """
    members = _sorted(agents)
    if hub is not None and hub not in members:
        raise InvalidArgumentError(f"hub {hub!r} is not among the agents: name one of {', '.join(members[:5])}")
    if not members:
        return frozenset()
    center = members[0] if hub is None else hub
    return frozenset(_link(center, each) for each in members if each != center)


def mesh(agents: Iterable[str]) -> frozenset[Link]:
    """Return everybody linked with everybody."""
    return frozenset(combinations(_sorted(agents), 2))


def ring(agents: Iterable[str]) -> frozenset[Link]:
    """Return each linked with the next, and the last with the first."""
    members = _sorted(agents)
    if len(members) < 2:
        return frozenset()
    return frozenset(_link(one, other) for one, other in pairwise([*members, members[0]]))


def tree(agents: Iterable[str], *, branches: int = BRANCHES) -> frozenset[Link]:
    """Return each linked with its parent; the first agent is the root.

    Raises:
        InvalidArgumentError: `branches` is under 1.
    """
    if branches < 1:
        raise InvalidArgumentError(f"branches {branches} must be 1 or more")
    members = _sorted(agents)
    return frozenset(_link(members[(place - 1) // branches], members[place]) for place in range(1, len(members)))


def hybrid(agents: Iterable[str], *, parts: Sequence[Shape] = PARTS) -> frozenset[Link]:
    """Return the union of other shapes.

    Raises:
        InvalidArgumentError: a part is itself a hybrid, or there are not two.
    """
    if len(parts) != 2 or Shape.HYBRID in parts:
        raise InvalidArgumentError(f"hybrid of {', '.join(parts) or 'nothing'}: name two other shapes")
    members = _sorted(agents)
    return frozenset[Link]().union(*(links(part, members) for part in parts))


BUILDERS: Mapping[Shape, Callable[[Iterable[str]], frozenset[Link]]] = {
    Shape.STAR: star,
    Shape.MESH: mesh,
    Shape.RING: ring,
    Shape.TREE: tree,
    Shape.HYBRID: hybrid,
}


def links(shape: Shape, agents: Iterable[str]) -> frozenset[Link]:
    """Return the links of a shape with its usual choices."""
    return BUILDERS[shape](agents)


def links_with(shape: Shape, agents: Iterable[str], newcomers: Collection[str]) -> Iterator[Link]:
    """Yield the links of the shape among `agents` that have a newcomer at an end, in order."""
    if shape is Shape.MESH:
        members = _sorted(agents)
        found = {_link(new, other) for new in newcomers for other in members if other != new}
    else:
        found = {link for link in links(shape, agents) if link[0] in newcomers or link[1] in newcomers}
    yield from sorted(found)


def link_count(shape: Shape, count: int) -> int:
    """Return how many links a shape has among so many agents; a hybrid's two parts share one link, or two when few."""
    match shape:
        case Shape.MESH:
            return count * (count - 1) // 2
        case Shape.STAR | Shape.TREE:
            return max(0, count - 1)
        case Shape.RING:
            return count if count > 2 else max(0, count - 1)
        case Shape.HYBRID:
            shared = 1 + (count <= BRANCHES + 1)
            return 2 * count - 1 - shared if count > 2 else max(0, count - 1)


def components(agents: Iterable[str], given: Iterable[Link]) -> list[list[str]]:
    """Return the groups whose members reach each other over the links: the largest first, then by first name."""
    beside: dict[str, list[str]] = defaultdict(list)
    for one, other in given:
        beside[one].append(other)
        beside[other].append(one)
    left = set(agents)
    groups: list[list[str]] = []
    while left:
        group: list[str] = []
        ahead = [left.pop()]
        while ahead:
            group.append(ahead.pop())
            new = left.intersection(beside[group[-1]])
            left -= new
            ahead += new
        groups.append(sorted(group))
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _sorted(agents: Iterable[str]) -> list[str]:
    return sorted(set(agents))


def _link(one: str, other: str) -> Link:
    return (one, other) if one < other else (other, one)
