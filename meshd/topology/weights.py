"""How use makes an edge thicker and time makes it thinner. Pure.

Time passes in ticks: the multiples of `interval_ms` on the store's clock, the same for all edges. So ageing an edge
to one moment and then to a later one is ageing it to the later one, whatever lies between, and nobody has to touch an
edge to age it. Weights are kept to twelve decimals: `0.5` less twenty-four sixtieths is `0.1`, and not a bit under it.
"""

import math

from meshd.errors import InvalidArgumentError
from meshd.topology.model import Edge, EdgeRules, Use, WeightRule

DECIMALS = 12
TOLERANCE = 1e-9
"""Weights that differ by less are the same weight, after however many steps."""


def began(source: str, target: str, *, at_ms: int, rules: EdgeRules) -> Edge:
    """Return the edge as it is when it begins: at the initial weight."""
    return Edge(source=source, target=target, weight=rules.initial, created_ms=at_ms, touched_ms=at_ms)


def weight_at(edge: Edge, now_ms: int, rules: EdgeRules) -> float:
    """Return what time has left of the edge's weight."""
    return _after(edge.weight, ticks(edge.touched_ms, now_ms, rules), rules)


def aged(edge: Edge, *, now_ms: int, rules: EdgeRules) -> Edge:
    """Return the edge as it is at `now_ms`; a time before it was last touched changes nothing."""
    if now_ms <= edge.touched_ms:
        return edge
    return _touched(edge, weight=weight_at(edge, now_ms, rules), at_ms=now_ms)


def used(edge: Edge, use: Use, *, at_ms: int, rules: EdgeRules) -> Edge:
    """Return the edge after it was used, `use.count` times at once.

    A failure (quality 0) is no use: the additive rule does not see it, the bounded rule halves for each.

    Raises:
        InvalidArgumentError: the use counts less than one, or its quality is outside 0 to 1.
    """
    check_use(use)
    at_ms = max(at_ms, edge.touched_ms)
    weight = weight_at(edge, at_ms, rules)
    if use.quality <= 0:
        halved = weight if rules.rule is WeightRule.ADDITIVE else round(weight * 0.5**use.count, DECIMALS)
        return _touched(edge, weight=halved, at_ms=at_ms)
    return Edge(
        source=edge.source,
        target=edge.target,
        weight=_stronger(weight, use, rules),
        usage=edge.usage + use.count,
        used_ms=at_ms,
        created_ms=edge.created_ms,
        touched_ms=at_ms,
    )


def is_spent(edge: Edge, now_ms: int, rules: EdgeRules) -> bool:
    """Return whether the edge is due to be pruned: at or below the threshold and, by the bounded rule, idle for long.

    Additive: from 0.5 the weight is 0.1 at the 24th tick, so an unused edge is gone between 115 and 120 s.
    """
    if weight_at(edge, now_ms, rules) > rules.prune_below + TOLERANCE:
        return False
    return rules.rule is WeightRule.ADDITIVE or now_ms - _idle_since(edge) >= rules.idle_ms


def spent_ms(edge: Edge, rules: EdgeRules) -> int | None:
    """Return the store time from which the edge is spent if nobody uses it; `None`: never."""
    count = _ticks_to_spend(edge.weight, rules)
    if count is None:
        return None
    thin_ms = edge.touched_ms if count == 0 else (edge.touched_ms // rules.interval_ms + count) * rules.interval_ms
    if rules.rule is WeightRule.ADDITIVE:
        return thin_ms
    return max(thin_ms, _idle_since(edge) + rules.idle_ms)


def ticks(since_ms: int, until_ms: int, rules: EdgeRules) -> int:
    """Return how many ticks lie after `since_ms`, up to and including `until_ms`."""
    return max(0, until_ms // rules.interval_ms - since_ms // rules.interval_ms)


def check_use(use: Use) -> None:
    """Return if an edge can be used so.

    Raises:
        InvalidArgumentError: it counts less than one, or its quality is outside 0 to 1.
    """
    if use.count < 1 or not 0 <= use.quality <= 1:
        raise InvalidArgumentError(
            f"use of {use.source} -> {use.target}: count {use.count} must be 1 or more, quality {use.quality} 0 to 1"
        )


def _stronger(weight: float, use: Use, rules: EdgeRules) -> float:
    if rules.rule is WeightRule.ADDITIVE:
        return round(min(rules.cap, weight + rules.reinforcement * use.count), DECIMALS)
    missing = (1 - weight) * (1 - rules.reinforcement * use.quality) ** use.count
    return round(min(rules.cap, 1 - missing), DECIMALS)


def _after(weight: float, count: int, rules: EdgeRules) -> float:
    if count == 0:
        return weight
    if rules.rule is WeightRule.ADDITIVE:
        return round(max(0.0, weight - rules.decay * count), DECIMALS)
    return round(max(min(weight, rules.floor), weight * (1 - rules.decay_share) ** count), DECIMALS)


def _ticks_to_spend(weight: float, rules: EdgeRules) -> int | None:
    """Return after how many ticks a weight is at or below the threshold; `None` for one that stays above it."""
    limit = rules.prune_below + TOLERANCE
    if weight <= limit:
        return 0
    if rules.rule is WeightRule.ADDITIVE:
        if rules.decay <= 0:
            return None
        count = math.ceil((weight - rules.prune_below) / rules.decay - TOLERANCE)
    else:
        if rules.decay_share <= 0 or rules.floor > limit:
            return None
        share = max(rules.prune_below, TOLERANCE) / weight
        count = math.ceil(math.log(share) / math.log(1 - rules.decay_share) - TOLERANCE)
    count = max(1, count - 1)
    while _after(weight, count, rules) > limit:
        count += 1
    return count


def _idle_since(edge: Edge) -> int:
    return edge.used_ms or edge.created_ms


def _touched(edge: Edge, *, weight: float, at_ms: int) -> Edge:
    return Edge(
        source=edge.source,
        target=edge.target,
        weight=weight,
        usage=edge.usage,
        used_ms=edge.used_ms,
        created_ms=edge.created_ms,
        touched_ms=at_ms,
    )
