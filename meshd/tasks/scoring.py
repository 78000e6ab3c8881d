"""Which of the nodes that can run a task should: terms and weights of the scorer, `meshd/scoring.py`. Pure.

Each term is a number from 0 to 1. A policy is a set of weights, and a node's score is its weighted mean:

    fit          1 / (1 + its capabilities that the task does not name + levels above those asked for)
    type         1 if the node's type is one the task prefers
    preferences  weight of the task's preferences that the node meets / weight of all of them
    load         1 - open tasks / slots
    history      0.7 · success + 0.3 · affinity, both 0.5 everywhere before the type was first run
                 success  = (completed + 1) / (completed + failed + 2)
                 affinity = (completed here + 1) / (completed on all candidates + 2)
                 where an ended task counts 1 at first and half of that after each half-life
    nearness     most weight of an edge of the topology from the submitter's node to it, where that is known
    turn         1 / (1 + tasks it was given beyond the candidate that was given fewest)
    chance       a random number
    health       0 for a node that is degraded, or whose last beat is so old that it may be gone

What the caller prefers outweighs the policy, and health outweighs both. Equal scores are told apart by history (unless
that is switched off), then by load, then by name: the order is total, so the same input gives the same choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from meshd.nodes.model import Node, NodeStatus, TypeHistory
from meshd.scoring import Scored
from meshd.scoring import scored as weighted_mean
from meshd.tasks.model import Claimer
from meshd.tasks.routing import meets, names_of, requirements_of, surplus_levels, weighted


class RoutingPolicy(StrEnum):
    """How a task finds its node."""

    LATE_BINDING = "late_binding"
    """The first idle node that can run it takes it; only a task with preferences is placed."""
    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"
    CAPABILITY_BASED = "capability_based"
    """The closest fit, so that nodes that can do more stay free for what only they can do."""
    RANDOM = "random"
    AFFINITY = "affinity"
    """Where such tasks have succeeded of late."""


class Term(StrEnum):
    """What a score is made of; see the module."""

    FIT = "fit"
    TYPE = "type"
    PREFERENCES = "preferences"
    LOAD = "load"
    HISTORY = "history"
    NEARNESS = "nearness"
    TURN = "turn"
    CHANCE = "chance"
    HEALTH = "health"


POLICY_WEIGHTS: Mapping[RoutingPolicy, Mapping[Term, float]] = {
    RoutingPolicy.LATE_BINDING: {Term.FIT: 0.2, Term.LOAD: 0.4, Term.HISTORY: 0.4},
    RoutingPolicy.LEAST_LOADED: {Term.LOAD: 1.0},
    RoutingPolicy.ROUND_ROBIN: {Term.TURN: 1.0},
    RoutingPolicy.CAPABILITY_BASED: {Term.FIT: 1.0},
    RoutingPolicy.RANDOM: {Term.CHANCE: 1.0},
    RoutingPolicy.AFFINITY: {Term.HISTORY: 1.0, Term.LOAD: 0.5},
}

WISH_WEIGHT = 2.0
"""Weight of the preferred types, and of the preferences, of a task that has any."""

NEARNESS_WEIGHTS: Mapping[RoutingPolicy, float] = {RoutingPolicy.LATE_BINDING: 0.3, RoutingPolicy.AFFINITY: 0.5}
"""Weight of nearness under the policies that count it, where it is known: at most as much as load has."""

SUCCESS_SHARE, AFFINITY_SHARE = 0.7, 0.3

Terms = Mapping[Term, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a task says about its node: what it requires, and what it would like."""

    route: str
    preferred_types: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()

    @property
    def task_type(self) -> str:
        return requirements_of(self.route)[0]

    @property
    def is_open(self) -> bool:
        """Whether it would like nothing in particular."""
        return not self.preferred_types and not self.preferences


def weights_of(
    policy: RoutingPolicy, wish: Wish, *, counts_history: bool = True, counts_nearness: bool = False
) -> Mapping[Term, float]:
    """Return the weights by which `policy` judges nodes for this wish."""
    weights = {term: w for term, w in POLICY_WEIGHTS[policy].items() if counts_history or term is not Term.HISTORY}
    if counts_nearness and policy in NEARNESS_WEIGHTS:
        weights[Term.NEARNESS] = NEARNESS_WEIGHTS[policy]
    if wish.preferred_types:
        weights[Term.TYPE] = WISH_WEIGHT
    if wish.preferences:
        weights[Term.PREFERENCES] = WISH_WEIGHT
    weights[Term.HEALTH] = 1.0 + sum(weights.values())
    return weights


def lasting_terms(
    wish: Wish, node: Node, offer: Claimer, *, completed_by_all: float, doubt_ms: int, nearness: float = 0.0
) -> dict[Term, float]:
    """Return the terms that do not change from one placement to the next; `offer` is the node as a claimer.

    A last beat older than `doubt_ms` makes the node doubtful.
    """
    history = node.vitals.history.get(wish.task_type, TypeHistory())
    return {
        Term.FIT: _fit(wish, node, offer),
        Term.TYPE: float(node.profile.type in wish.preferred_types),
        Term.PREFERENCES: _preferences(wish, offer),
        Term.HISTORY: history_term(history, completed_by_all=completed_by_all),
        Term.NEARNESS: nearness,
        Term.HEALTH: float(node.vitals.status is not NodeStatus.DEGRADED and node.beat_age_ms <= doubt_ms),
    }


def moving_terms(*, open_tasks: int, slots: int, turns: int = 0, chance: float = 0.0) -> dict[Term, float]:
    """Return the terms that each placement changes; `turns` count from the candidate that was given fewest."""
    return {
        Term.LOAD: load_term(open_tasks=open_tasks, slots=slots),
        Term.TURN: 1 / (1 + turns),
        Term.CHANCE: chance,
    }


def load_term(*, open_tasks: int, slots: int) -> float:
    """Return the free share of a node's slots."""
    return max(0.0, 1 - open_tasks / slots) if slots else 0.0


def history_term(history: TypeHistory, *, completed_by_all: float) -> float:
    """Return what a node's past with a task type is worth; 0.5 for one without."""
    success = (history.completed + 1) / (history.completed + history.failed + 2)
    affinity = (history.completed + 1) / (max(completed_by_all, history.completed) + 2)
    return SUCCESS_SHARE * success + AFFINITY_SHARE * affinity


def scored(node_id: str, terms: Terms, weights: Terms, *, counts_history: bool = True) -> Scored[Term]:
    """Return the node's score for a task; equal ones are told apart by history, then by load."""
    tie = (terms[Term.HISTORY] if counts_history else 0.0, terms[Term.LOAD])
    return weighted_mean(node_id, terms, weights, tie=tie)


def _fit(wish: Wish, node: Node, offer: Claimer) -> float:
    task_type, required = requirements_of(wish.route)
    named = names_of([task_type, *required, *(weighted(text)[0] for text in wish.preferences)])
    surplus = len(node.profile.all_capabilities - named)
    return 1 / (1 + surplus + surplus_levels(offer.capabilities, required))


def _preferences(wish: Wish, offer: Claimer) -> float:
    if not wish.preferences:
        return 0.0
    wanted = [weighted(text) for text in wish.preferences]
    terms = offer.capabilities | offer.task_types
    met = sum(weight for term, weight in wanted if meets(terms, term, node_id=offer.node_id))
    return met / sum(weight for _, weight in wanted)
