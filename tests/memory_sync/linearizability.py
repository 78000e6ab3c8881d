"""Whether a recorded history of one key could have happened in one order that respects real time.

Source: Wing and Gong, "Testing and verifying concurrent objects", 1993, with Lowe's memory of states already tried.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A call on a register whose values are all different, and what came of it."""

    began: float
    ended: float = math.inf
    """Never, if nobody knows whether it took effect: then it may have, at any time after it began, or not at all."""
    wrote: str | None = None
    """What it was to write; `None` for a read."""
    over: str | None = None
    """What had to be there for it to write."""
    found: str | None = None
    """What a read found, or a refused write."""
    is_taken: bool = True
    """The write was made."""


def is_linearizable(history: Sequence[Operation], *, initial: str | None = None) -> bool:
    """Return whether the history has an order in which every answer is right."""
    must = frozenset(at for at, each in enumerate(history) if each.ended < math.inf)
    seen: set[tuple[frozenset[int], str | None]] = set()
    stack: list[tuple[frozenset[int], str | None]] = [(frozenset(range(len(history))), initial)]
    while stack:
        left, state = stack.pop()
        if not left & must:
            return True
        if (left, state) in seen:
            continue
        seen.add((left, state))
        soonest = min(history[at].ended for at in left)
        for at in left:
            if history[at].began <= soonest:
                after = _after(history[at], state)
                if after is not _WRONG:
                    stack.append((left - {at}, after))
    return False


_WRONG = "\0wrong"


def _after(operation: Operation, state: str | None) -> str | None:
    if operation.wrote is None:
        return state if operation.found == state else _WRONG
    if operation.is_taken:
        return operation.wrote if operation.over == state else _WRONG
    return state if operation.over != state else _WRONG
