"""Which shape suits a mesh, and why: from who talks to whom, what may fail, how many there are, and what it may cost.

Every shape is judged by the same questions, each with its answer in words; what breaks a limit is out, and of the rest
the one with the most points is suggested, the one with fewer links where points are equal. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from meshd.errors import InvalidArgumentError
from meshd.topology.builders import BRANCHES, link_count
from meshd.topology.model import Shape

FULL_MESH_UP_TO = 32
"""Agents up to which everybody is linked with everybody by default: 992 edges, a record of under 3 KB each."""
MOST_AGENTS = 1_000_000


class Communication(StrEnum):
    """Who talks to whom, mostly."""

    ANYONE = "anyone"
    """Everybody with everybody."""
    CENTRAL = "central"
    """All with one coordinator."""
    CHAIN = "chain"
    """Each with the next: stages of a pipeline."""
    LEVELS = "levels"
    """Each with those it reports to and those that report to it."""


class Tolerance(StrEnum):
    """How many agents may be lost before others are cut off."""

    NONE = "none"
    """Any one loss may cut others off."""
    ONE = "one"
    """Whichever one is lost, the others stay connected."""
    MANY = "many"
    """However many are lost, the others stay connected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a mesh asks of its shape."""

    agents: int
    communication: Communication = Communication.ANYONE
    tolerance: Tolerance = Tolerance.ONE
    max_links: int | None = None
    """Most links altogether."""
    max_degree: int | None = None
    """Most links of any one agent."""
    max_hops: int | None = None
    """Most links between any two agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A shape, and why it and not another."""

    shape: Shape
    links: int
    reasons: tuple[str, ...]
    rejected: Mapping[Shape, str]
    """Why not, for every other shape."""


_SURVIVES: Mapping[Shape, Tolerance] = {
    Shape.STAR: Tolerance.NONE,
    Shape.TREE: Tolerance.NONE,
    Shape.RING: Tolerance.ONE,
    Shape.HYBRID: Tolerance.ONE,
    Shape.MESH: Tolerance.MANY,
}
_LOSS: Mapping[Shape, str] = {
    Shape.STAR: "the loss of its hub isolates all",
    Shape.TREE: "the loss of a parent cuts off what is below it",
    Shape.RING: "any one may be lost, a second cuts it in two",
    Shape.HYBRID: "any one may be lost: its ring and its tree stand in for each other",
    Shape.MESH: "however many are lost, the others stay connected",
}
_SUITS: Mapping[Communication, Mapping[Shape, float]] = {
    Communication.ANYONE: {Shape.MESH: 3, Shape.HYBRID: 2, Shape.STAR: 1},
    Communication.CENTRAL: {Shape.STAR: 3, Shape.HYBRID: 1, Shape.TREE: 1, Shape.MESH: 1},
    Communication.CHAIN: {Shape.RING: 3, Shape.HYBRID: 2, Shape.MESH: 1},
    Communication.LEVELS: {Shape.TREE: 3, Shape.HYBRID: 2, Shape.STAR: 1, Shape.MESH: 1},
}
_ORDER = (Tolerance.NONE, Tolerance.ONE, Tolerance.MANY)


def suggest(need: Need) -> Suggestion:
    """Return the shape that suits, with the reasons in words.

    Raises:
        InvalidArgumentError: the number of agents is not 1 to a million, or no shape keeps the limits.
    """
    if not 1 <= need.agents <= MOST_AGENTS:
        raise InvalidArgumentError(f"agents {need.agents} must be 1 to {MOST_AGENTS:,}")
    refused = {shape: why for shape in Shape if (why := _breaks(shape, need))}
    fit = [shape for shape in Shape if shape not in refused]
    if not fit:
        said = "; ".join(f"{shape}: {why}" for shape, why in refused.items())
        raise InvalidArgumentError(f"no shape keeps these limits ({said}); loosen one")
    best = max(fit, key=lambda shape: (_points(shape, need), -link_count(shape, need.agents)))
    weaker = {shape: _weaker(shape, best, need) for shape in fit if shape is not best}
    return Suggestion(
        shape=best,
        links=link_count(best, need.agents),
        reasons=_reasons(best, need),
        rejected={shape: {**refused, **weaker}[shape] for shape in Shape if shape is not best},
    )


def communication_named(name: str) -> Communication:
    """Return the communication of this name.

    Raises:
        InvalidArgumentError: there is none.
    """
    try:
        return Communication(name)
    except ValueError:
        raise InvalidArgumentError(f"communication {name!r} is not one of {', '.join(Communication)}") from None


def tolerance_named(name: str) -> Tolerance:
    """Return the tolerance of this name.

    Raises:
        InvalidArgumentError: there is none.
    """
    try:
        return Tolerance(name)
    except ValueError:
        raise InvalidArgumentError(f"tolerance {name!r} is not one of {', '.join(Tolerance)}") from None


def shape_for(agents: int, *, full_mesh_up_to: int = FULL_MESH_UP_TO) -> Shape:
    """Return the shape a mesh of so many agents starts with unless one is set (ADR 0022)."""
    return Shape.MESH if agents <= full_mesh_up_to else Shape.HYBRID


def max_degree(shape: Shape, agents: int) -> int:
    """Return the most links any one agent has."""
    others = max(0, agents - 1)
    bound = {Shape.RING: 2, Shape.TREE: BRANCHES + 1, Shape.HYBRID: BRANCHES + 3}
    return min(others, bound.get(shape, others))


def max_hops(shape: Shape, agents: int) -> int:
    """Return how many links lie between the two agents furthest apart, at most."""
    if agents < 2:
        return 0
    deep = 2 * _depth(agents)
    match shape:
        case Shape.MESH:
            return 1
        case Shape.STAR:
            return min(2, agents - 1)
        case Shape.RING:
            return agents // 2
        case Shape.TREE:
            return deep
        case Shape.HYBRID:
            return min(deep, agents // 2)


def _depth(agents: int) -> int:
    depth, held = 0, 1
    while held < agents:
        depth += 1
        held += BRANCHES**depth
    return depth


def _breaks(shape: Shape, need: Need) -> str:
    count = link_count(shape, need.agents)
    if need.agents > 2 and _ORDER.index(_SURVIVES[shape]) < _ORDER.index(need.tolerance):
        return f"{_LOSS[shape]}, and {need.tolerance} may"
    if need.max_links is not None and count > need.max_links:
        return f"{count:,} links are over {need.max_links:,}"
    degree = max_degree(shape, need.agents)
    if need.max_degree is not None and degree > need.max_degree:
        return f"{degree:,} links at one agent are over {need.max_degree:,}"
    hops = max_hops(shape, need.agents)
    if need.max_hops is not None and hops > need.max_hops:
        return f"{hops:,} hops between two agents are over {need.max_hops:,}"
    return ""


def _points(shape: Shape, need: Need) -> float:
    is_large = need.agents > FULL_MESH_UP_TO
    scale = {Shape.MESH: -3.0, Shape.STAR: -1.0, Shape.RING: -1.0}.get(shape, 0.0) if is_large else 0.0
    spare = 0.25 * (_ORDER.index(_SURVIVES[shape]) - _ORDER.index(need.tolerance))
    return _SUITS[need.communication].get(shape, 0) + scale + spare


def _reasons(shape: Shape, need: Need) -> tuple[str, ...]:
    talk = {
        Communication.ANYONE: "everybody talks with everybody",
        Communication.CENTRAL: "all talk with one coordinator",
        Communication.CHAIN: "each talks with the next",
        Communication.LEVELS: "each talks with the level above and below",
    }[need.communication]
    hops = max_hops(shape, need.agents)
    count, degree = link_count(shape, need.agents), max_degree(shape, need.agents)
    size = "few enough for direct links" if need.agents <= FULL_MESH_UP_TO else "too many for a link between any two"
    return (
        f"communication: {talk}; in a {shape} any two are at most {hops:,} link{'s' if hops != 1 else ''} apart",
        f"fault tolerance: {need.tolerance} may be lost; in a {shape} {_LOSS[shape]}",
        f"scale: {need.agents:,} agents, {size}: {count:,} links, up to {degree:,} at one agent",
        f"constraints: {_limits(need)}",
    )


def _limits(need: Need) -> str:
    named = {"links": need.max_links, "links at one agent": need.max_degree, "hops": need.max_hops}
    said = [f"at most {limit:,} {what}" for what, limit in named.items() if limit is not None]
    return f"{', '.join(said)}: kept" if said else "none were set"


def _weaker(shape: Shape, best: Shape, need: Need) -> str:
    if _SUITS[need.communication].get(shape, 0) < _SUITS[need.communication].get(best, 0):
        return f"suits this communication less than a {best}"
    if link_count(shape, need.agents) > link_count(best, need.agents):
        return f"{link_count(shape, need.agents):,} links, and a {best} does with fewer"
    return f"suits {need.agents:,} agents less than a {best}"
