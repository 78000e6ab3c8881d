"""How well an agent would do its part in a piece of work: terms and weights of the scorer, `meshd/scoring.py`. Pure.

    level         .20   mean level of the skills it would bring / 4
    success       .30   mean of their success rates: declared worth four outcomes, then what was recorded
    availability  .20   free share of its slots
    time          .10   pace / (pace + its slowest skill's mean time): 1/2 at the pace, a minute by default
    reputation    .15   (completed + 2) / (completed + failed + 4), at least .25
    cost          .05   1 / (1 + what it asks)

The skills it would bring are those asked for that it has at the level asked for. Equal scores are told apart by
success, then by name: the order is total, so the same input gives the same choice.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from meshd.errors import InvalidArgumentError
from meshd.groups.model import Candidate, Offer, Skill, SkillNeed
from meshd.groups.reputation import FLOOR, standing_at
from meshd.groups.shares import given_at
from meshd.groups.skills import UNKNOWN_MS, EvidenceRule, level_at, success_at, time_ms
from meshd.nodes.model import Level
from meshd.scoring import Scored
from meshd.scoring import scored as weighted_mean


class Term(StrEnum):
    """What a score is made of; see the module."""

    LEVEL = "level"
    SUCCESS = "success"
    AVAILABILITY = "availability"
    TIME = "time"
    REPUTATION = "reputation"
    COST = "cost"


WEIGHTS: Mapping[Term, float] = {
    Term.LEVEL: 0.20,
    Term.SUCCESS: 0.30,
    Term.AVAILABILITY: 0.20,
    Term.TIME: 0.10,
    Term.REPUTATION: 0.15,
    Term.COST: 0.05,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRules:
    """Numbers of the score, and who may offer at all."""

    weights: Mapping[Term, float] = field(default_factory=lambda: WEIGHTS)
    pace_ms: float = UNKNOWN_MS
    """Mean time that is worth half."""
    least_availability: float = 0.2
    """Free share of its slots an agent must have to offer: at 5 slots, one."""
    floor: float = FLOOR
    """Least reputation that counts when agents are chosen."""
    evidence: EvidenceRule | None = None
    """When recorded outcomes speak for another level; `None`: the declared one holds."""


DEFAULT_RULES = ScoreRules()


def check_rules(rules: ScoreRules) -> ScoreRules:
    """Return the rules unchanged if every agent can be scored by them.

    Raises:
        InvalidArgumentError: a weight is under 0, all are 0, the pace is not over 0, or a share is outside 0 to 1.
    """
    for term, weight in rules.weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise InvalidArgumentError(f"weight {weight} of {term} is not 0 or more")
    if sum(rules.weights.values()) <= 0:
        raise InvalidArgumentError("all weights of the score are 0: give one term a weight")
    if not (math.isfinite(rules.pace_ms) and rules.pace_ms > 0):
        raise InvalidArgumentError(f"pace of {rules.pace_ms} ms is not over 0")
    if not 0 <= rules.least_availability <= 1:
        raise InvalidArgumentError(f"least availability {rules.least_availability} is not 0 to 1")
    if not 0 <= rules.floor <= 1:
        raise InvalidArgumentError(f"floor {rules.floor} of the reputation is not 0 to 1")
    return rules


def meets(skill: Skill | None, need: SkillNeed, now_ms: int, rules: ScoreRules = DEFAULT_RULES) -> bool:
    """Return whether the skill is what is asked for, at the level asked for."""
    return skill is not None and skill.name == need.name and level_at(skill, now_ms, rules.evidence) >= need.level


def brought(
    candidate: Candidate, needs: Iterable[SkillNeed], now_ms: int, rules: ScoreRules = DEFAULT_RULES
) -> tuple[str, ...]:
    """Return the names of the skills asked for that it has at the level asked for, in the order asked for."""
    met: dict[str, bool] = {}
    for need in needs:
        met[need.name] = met.get(need.name, True) and meets(candidate.skills.get(need.name), need, now_ms, rules)
    return tuple(name for name, is_met in met.items() if is_met)


def scored(candidate: Candidate, names: Sequence[str], now_ms: int, rules: ScoreRules = DEFAULT_RULES) -> Scored[Term]:
    """Return how well it would do with these skills of its own; with none, with nothing to show for it."""
    terms = terms_of(candidate, names, now_ms, rules)
    return weighted_mean(candidate.agent, terms, rules.weights, tie=(terms[Term.SUCCESS],))


def terms_of(
    candidate: Candidate, names: Sequence[str], now_ms: int, rules: ScoreRules = DEFAULT_RULES
) -> dict[Term, float]:
    """Return each term, 0 to 1."""
    used = [candidate.skills[name] for name in names]
    count = max(1, len(used))
    slowest = max(map(time_ms, used), default=UNKNOWN_MS)
    return {
        Term.LEVEL: sum(level_at(skill, now_ms, rules.evidence) for skill in used) / (count * Level.EXPERT),
        Term.SUCCESS: sum(success_at(skill, now_ms) for skill in used) / count,
        Term.AVAILABILITY: candidate.availability,
        Term.TIME: rules.pace_ms / (rules.pace_ms + slowest),
        Term.REPUTATION: standing_at(candidate.reputation, now_ms, rules.floor),
        Term.COST: 1 / (1 + max(0.0, candidate.cost)),
    }


def offer_of(
    candidate: Candidate, needs: Iterable[SkillNeed], now_ms: int, rules: ScoreRules = DEFAULT_RULES
) -> Offer | None:
    """Return what the agent can offer; `None` if it has none of the skills, or too few free slots."""
    if not has_room(candidate, rules):
        return None
    names = brought(candidate, needs, now_ms, rules)
    if not names:
        return None
    return Offer(
        agent=candidate.agent,
        incarnation=candidate.incarnation,
        skills=names,
        score=scored(candidate, names, now_ms, rules).score,
        availability=candidate.availability,
        estimated_ms=max(time_ms(candidate.skills[name]) for name in names),
        cost=candidate.cost,
        given=given_at(candidate, now_ms),
        node=candidate.node,
        free=candidate.slots - candidate.taken,
    )


def has_room(candidate: Candidate, rules: ScoreRules = DEFAULT_RULES) -> bool:
    """Return whether enough of its slots are free to offer: one at least, and the share asked for."""
    free = candidate.slots - candidate.taken
    return free >= 1 and free + 1e-9 >= rules.least_availability * candidate.slots


def ranked(
    candidates: Iterable[Candidate], need: SkillNeed, now_ms: int, rules: ScoreRules = DEFAULT_RULES
) -> list[Scored[Term]]:
    """Return those that have the skill at the level asked for, the best first, busy ones too."""
    able = (one for one in candidates if meets(one.skills.get(need.name), need, now_ms, rules))
    return sorted((scored(one, (need.name,), now_ms, rules) for one in able), key=lambda found: found.order)
