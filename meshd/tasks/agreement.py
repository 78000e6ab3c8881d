"""Agreement of results: one task is run several times, and what enough of the runs return is its result. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshd.errors import InvalidArgumentError
from meshd.votes.model import Quorum

TALLY_TASK = "mesh.tally"
"""Type of the task that compares the copies; every node that may see to it beside other work has its handler."""

COPIES = 5
"""Copies that are run when neither they nor a count of equal results is given."""
MAX_COPIES = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallied:
    """What the copies of a task say together."""

    value: Any
    """The result most of them returned; `None` when none did."""
    votes: int
    """How many returned it."""
    is_agreed: bool
    """Whether they are enough."""
    different: int
    """How many different results there are."""


def copies_of(quorum: Quorum, copies: int = 0) -> tuple[int, int]:
    """Return how many equal results are needed, of how many copies.

    Without `copies`, a count of k is of 2k - 1. More than half is needed always, so that two results never both win.

    Raises:
        InvalidArgumentError: no such numbers exist, or the quorum is weighted.
    """
    if quorum.weighted:
        raise InvalidArgumentError("results have no weight: verify takes a quorum of a count or of a share")
    need = quorum.count
    if need < 1:
        copies = copies or COPIES
        need = -(-copies * quorum.permil // 1000)
    copies = copies or 2 * need - 1
    if not 1 <= copies <= MAX_COPIES:
        raise InvalidArgumentError(f"verify by {copies} copies is not between 1 and {MAX_COPIES}")
    if not copies < 2 * need <= 2 * copies:
        raise InvalidArgumentError(f"verify by {need} of {copies}: more than half must agree, and at most all can")
    return need, copies


def tallied(values: Sequence[Any], *, need: int) -> Tallied:
    """Return what these results, plain JSON values of the copies that completed, say together."""
    texts = [json.dumps(value, sort_keys=True) for value in values]
    found = Counter(texts).most_common(1)
    if not found:
        return Tallied(value=None, votes=0, is_agreed=False, different=0)
    text, votes = found[0]
    value = values[texts.index(text)]
    return Tallied(value=value, votes=votes, is_agreed=votes >= need, different=len(set(texts)))
