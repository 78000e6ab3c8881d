"""What an agent can do: what it declares, corrected by what is recorded. Pure.

    success = (4 · declared + completed) / (4 + completed + failed)
    time    = the declared mean, then .8 · before + .2 · newest

Recorded outcomes lose half their weight each half-life; what is declared is worth `PRIOR_OUTCOMES` outcomes for good.
So no single outcome erases a declaration, and what is long past is forgotten.

Invariant: only `recorded` moves figures, and no outcome moves the level. Where evidence is to count for it, a rule
reads it from the same figures, and it returns to the declared level as they fade.
"""

import math
from dataclasses import dataclass, replace

from meshd.errors import InvalidArgumentError
from meshd.groups.fading import faded
from meshd.groups.model import PRIOR_OUTCOMES, REPUTATION_HALF_LIFE_MS, Skill
from meshd.ids import check_name
from meshd.nodes.model import Level

NEWEST_SHARE = 0.2
UNKNOWN_MS = 60_000.0
"""Taken for the mean time of a skill that has neither a declared nor a recorded one."""

_LEVELS = {level.name.lower(): level for level in Level}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRule:
    """When recorded outcomes speak for another level than the declared one: the next one up or down, no further."""

    outcomes: float = 10.0
    """Weight of recorded outcomes from which they count."""
    rises_at: float = 0.95
    """Share of successes among them from which the level is one higher."""
    falls_under: float = 0.5
    """Share under which it is one lower."""


def level_named(said: Level | str | int) -> Level:
    """Return the level of this name or number.

    Raises:
        InvalidArgumentError: there is none.
    """
    try:
        return _LEVELS[said.lower()] if isinstance(said, str) else Level(said)
    except (KeyError, ValueError):
        raise InvalidArgumentError(f"level {said!r} is not one of {', '.join(_LEVELS)}") from None


def level_name(level: Level) -> str:
    return level.name.lower()


def check_skill(skill: Skill) -> Skill:
    """Return the skill unchanged if it can be declared so.

    Raises:
        InvalidArgumentError: its name is none, its success rate is outside 0 to 1, or its mean time is under 0.
    """
    check_name("skill", skill.name)
    if not 0 <= skill.success_rate <= 1:
        raise InvalidArgumentError(f"skill {skill.name}: success rate {skill.success_rate} is not 0 to 1")
    if not (math.isfinite(skill.average_ms) and skill.average_ms >= 0):
        raise InvalidArgumentError(f"skill {skill.name}: mean time {skill.average_ms} ms is not 0 (unknown) or more")
    return skill


def success_at(skill: Skill, now_ms: int) -> float:
    """Return the share of tasks it is taken to succeed at, 0 to 1."""
    completed, failed = evidence_at(skill, now_ms)
    return (PRIOR_OUTCOMES * skill.success_rate + completed) / (PRIOR_OUTCOMES + completed + failed)


def evidence_at(skill: Skill, now_ms: int) -> tuple[float, float]:
    """Return what its recorded successes and failures still weigh."""
    left = faded(1.0, since_ms=skill.at_ms, now_ms=now_ms, half_life_ms=REPUTATION_HALF_LIFE_MS)
    return skill.completed * left, skill.failed * left


def time_ms(skill: Skill) -> float:
    """Return how long it is taken to need."""
    return skill.measured_ms or skill.average_ms or UNKNOWN_MS


def level_at(skill: Skill, now_ms: int, rule: EvidenceRule | None = None) -> Level:
    """Return the declared level, or with a rule the one the evidence speaks for."""
    completed, failed = evidence_at(skill, now_ms)
    weight = completed + failed
    if rule is None or weight <= 0 or weight < rule.outcomes:
        return skill.level
    share = completed / weight
    if share >= rule.rises_at:
        return Level(min(Level.EXPERT, skill.level + 1))
    return Level(max(Level.NOVICE, skill.level - 1)) if share < rule.falls_under else skill.level


def recorded(skill: Skill, *, is_success: bool, took_ms: float, at_ms: int) -> Skill:
    """Return the skill after one more outcome; a time of 0 or less is unknown and leaves the mean as it is."""
    at_ms = max(at_ms, skill.at_ms)
    completed, failed = evidence_at(skill, at_ms)
    before = skill.measured_ms or skill.average_ms
    mean = (1 - NEWEST_SHARE) * before + NEWEST_SHARE * took_ms if before else took_ms
    return replace(
        skill,
        completed=completed + is_success,
        failed=failed + (not is_success),
        count=skill.count + 1,
        measured_ms=mean if took_ms > 0 else skill.measured_ms,
        at_ms=at_ms,
    )


def declared_anew(before: Skill, skill: Skill) -> Skill:
    """Return a skill as it is now declared, with what was recorded of it before."""
    return replace(
        skill,
        completed=before.completed,
        failed=before.failed,
        count=before.count,
        measured_ms=before.measured_ms,
        at_ms=before.at_ms,
    )
