"""The scorer of every choice the mesh makes between nodes or agents: one score, explained term by term. Pure.

    score = Σ weight · term / Σ weight

Each term is a number from 0 to 1. What the terms are is the matter of who chooses: `tasks/scoring.py` for the node that
runs a task, `groups/scoring.py` for the agents of a group. Here is what they share: the weighted mean, and the order of
what was scored. It is total, so the same input gives the same choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=str)

Order = tuple[float, tuple[float, ...], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored(Generic[T]):
    """The score of one node or agent, with the terms it is made of."""

    name: str
    score: float
    terms: Mapping[T, float]
    tie: tuple[float, ...] = ()
    """What decides between equal scores, before the name: the greater first."""

    @property
    def order(self) -> Order:
        """Sorts the best first."""
        return order_of(self.name, self.score, self.tie)


def order_of(name: str, score: float, tie: tuple[float, ...] = ()) -> Order:
    """Return what sorts this score among others, the best first; equal ones by tie, then by name."""
    return (-score, tuple([-value for value in tie]), name)


def weighed(terms: Mapping[T, float], weights: Mapping[T, float]) -> float:
    """Return what these terms add to a score; of all that have a weight, it is the score: their weighted mean."""
    return sum(weights.get(term, 0.0) * value for term, value in terms.items()) / sum(weights.values())


def scored(name: str, terms: Mapping[T, float], weights: Mapping[T, float], *, tie: tuple[float, ...]) -> Scored[T]:
    """Return the score of what has these terms; it keeps those that have a weight."""
    own = {term: terms[term] for term in weights}
    return Scored(name=name, score=weighed(terms, weights), terms=own, tie=tie)
