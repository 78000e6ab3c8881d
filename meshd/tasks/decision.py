"""Why a task was placed where it was: the compact record that is kept with it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from meshd.errors import CorruptDataError
from meshd.tasks.scoring import Terms

MAX_BYTES = 1_024
"""Longest a decision may be; candidates are left out from the worst on until it fits."""

TOP = 4
"""Most candidates kept."""

NOT_PLACED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One candidate as the scorer saw it."""

    node: str
    score: float
    terms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was known and what was made of it, at the time of the submit."""

    policy: str
    weights: Mapping[str, float]
    chosen: str = NOT_PLACED
    """The node; empty when no candidate had a free slot, so that the first idle node takes the task."""
    hold_back_ms: int = 0
    nodes: int = 0
    """Live nodes looked at."""
    candidates: int = 0
    """Those among them that were scored."""
    top: tuple[Choice, ...] = ()
    """The best candidates, best first."""
    rejected: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many nodes failed first on what: a term of the route, or full, draining, ..."""
    age_ms: int = 0
    """How long before the submit the nodes were looked at."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Decision).decode


def encode_decision(decision: Decision) -> bytes:
    """Return the decision as JSON of at most `MAX_BYTES`."""
    told = replace(decision, top=decision.top[:TOP])
    encoded = _encode(told)
    while len(encoded) > MAX_BYTES:
        told = _shorter(told)
        encoded = _encode(told)
    return encoded


def decode_decision(body: bytes) -> Decision:
    """Return the decision kept with a task.

    Raises:
        CorruptDataError: it is not one that meshd wrote.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, ValueError) as exc:
        raise CorruptDataError(f"a routing decision cannot be read: {exc}") from exc


def rounded(values: Terms) -> dict[str, float]:
    """Return the values with three decimals, as a decision keeps them."""
    return {term.value: round(value, 3) for term, value in values.items()}


def _shorter(decision: Decision) -> Decision:
    if len(decision.top) > 1:
        return replace(decision, top=decision.top[:-1])
    if decision.rejected:
        fewest = min(decision.rejected, key=lambda key: (decision.rejected[key], -len(key)))
        return replace(decision, rejected={key: n for key, n in decision.rejected.items() if key != fewest})
    return replace(decision, top=())


def first_of(choices: Sequence[Choice], node_id: str) -> Choice | None:
    """Return what is kept of one node."""
    return next((choice for choice in choices if choice.node == node_id), None)
