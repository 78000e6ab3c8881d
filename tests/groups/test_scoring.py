"""The score: exact numbers, a ranking anybody can redo by hand, who may offer, and what moves it which way."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError
from meshd.groups.model import Candidate, Reputation, Skill, SkillNeed
from meshd.groups.scoring import (
    WEIGHTS,
    ScoreRules,
    Term,
    brought,
    check_rules,
    offer_of,
    ranked,
    scored,
)
from meshd.groups.skills import EvidenceRule
from meshd.nodes.model import Level
from meshd.scoring import Scored, weighed

NOW = 1_700_000_000_000
PYTHON = SkillNeed(name="python", level=Level.INTERMEDIATE)


def able(agent: str, level: Level, *, success: float = 1.0, average_ms: float = 0.0, **more: Any) -> Candidate:
    skill = Skill(name="python", level=level, success_rate=success, average_ms=average_ms)
    return Candidate(agent=agent, skills={"python": skill}, **more)


def score_of(candidate: Candidate, *names: str) -> Scored[Term]:
    return scored(candidate, names or ("python",), NOW)


def test_every_term_of_a_score_can_be_computed_by_hand() -> None:
    agent = able(
        "ada",
        Level.ADVANCED,
        success=0.9,
        average_ms=20_000,
        taken=2,
        cost=4.0,
        reputation=Reputation(completed=8, failed=2, at_ms=NOW),
    )
    found = score_of(agent)
    assert found.terms == pytest.approx(
        {
            Term.LEVEL: 3 / 4,
            Term.SUCCESS: 0.9,
            Term.AVAILABILITY: 3 / 5,
            Term.TIME: 60 / 80,
            Term.REPUTATION: 10 / 14,
            Term.COST: 1 / 5,
        }
    )
    assert found.score == pytest.approx(0.2 * 0.75 + 0.3 * 0.9 + 0.2 * 0.6 + 0.1 * 0.75 + 0.15 * 10 / 14 + 0.05 * 0.2)
    assert found.score == pytest.approx(0.732143, abs=1e-6)


def test_a_fixed_case_is_ranked_as_by_hand() -> None:
    agents = [
        able("novice", Level.NOVICE),
        able("expert-busy", Level.EXPERT, success=0.9, taken=4),
        able("expert-free", Level.EXPERT, success=0.9),
        able("quick", Level.INTERMEDIATE, average_ms=6_000),
        able("trusted", Level.INTERMEDIATE, reputation=Reputation(completed=16, at_ms=NOW)),
        able("failing", Level.EXPERT, success=0.1),
    ]
    found = ranked(agents, PYTHON, NOW)
    assert [(one.name, round(one.score, 4)) for one in found] == [
        ("expert-free", 0.82),
        ("trusted", 0.81),
        ("quick", 0.7909),
        ("expert-busy", 0.66),
        ("failing", 0.58),
    ]


def test_weights_make_one() -> None:
    assert set(WEIGHTS) == set(Term)
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_several_skills_count_by_their_mean_and_their_slowest() -> None:
    skills = {
        "python": Skill(name="python", level=Level.EXPERT, success_rate=1.0, average_ms=10_000),
        "sql": Skill(name="sql", level=Level.INTERMEDIATE, success_rate=0.5, average_ms=60_000),
    }
    terms = score_of(Candidate(agent="ada", skills=skills), "python", "sql").terms
    assert (terms[Term.LEVEL], terms[Term.SUCCESS], terms[Term.TIME]) == (0.75, 0.75, 0.5)


def test_equal_scores_are_told_apart_by_success_then_by_name() -> None:
    one, two, three = (
        Scored(name=name, score=0.5, terms={Term.SUCCESS: success}, tie=(success,))
        for name, success in (("b", 0.9), ("a", 0.8), ("a", 0.9))
    )
    assert sorted([two, one, three], key=lambda found: found.order) == [three, one, two]


def test_a_minimum_level_is_a_minimum() -> None:
    for level in Level:
        needs = [SkillNeed(name="python", level=minimum) for minimum in Level]
        met = [bool(brought(able("ada", level), [need], NOW)) for need in needs]
        assert met == [minimum <= level for minimum in Level]


def test_a_skill_asked_for_twice_must_meet_both() -> None:
    needs = [PYTHON, SkillNeed(name="python", level=Level.EXPERT)]
    assert brought(able("ada", Level.ADVANCED), needs, NOW) == ()
    assert brought(able("ada", Level.EXPERT), needs, NOW) == ("python",)


def test_an_offer_says_what_is_brought_and_at_what_score() -> None:
    agent = able("ada", Level.EXPERT, average_ms=500, taken=1, incarnation=7, cost=2.0)
    offer = offer_of(agent, [SkillNeed(name="sql"), PYTHON], NOW)
    assert offer is not None
    assert (offer.agent, offer.incarnation, offer.skills, offer.estimated_ms) == ("ada", 7, ("python",), 500)
    assert (offer.availability, offer.cost, offer.score) == (0.8, 2.0, score_of(agent).score)


def test_nobody_offers_without_the_skill_or_below_the_level() -> None:
    assert offer_of(able("ada", Level.NOVICE), [PYTHON], NOW) is None
    assert offer_of(able("ada", Level.EXPERT), [SkillNeed(name="sql")], NOW) is None


@pytest.mark.parametrize(("slots", "taken", "offers"), [(5, 4, True), (5, 5, False), (5, 6, False), (10, 8, True)])
def test_the_last_fifth_of_the_slots_may_be_offered(slots: int, taken: int, offers: bool) -> None:
    assert (offer_of(able("ada", Level.EXPERT, slots=slots, taken=taken), [PYTHON], NOW) is not None) is offers


def test_less_than_a_fifth_may_not_be_offered_unless_the_rules_say_so() -> None:
    agent = able("ada", Level.EXPERT, slots=10, taken=9)
    assert offer_of(agent, [PYTHON], NOW) is None
    assert offer_of(agent, [PYTHON], NOW, ScoreRules(least_availability=0.0)) is not None
    assert offer_of(able("ada", Level.EXPERT, slots=0), [PYTHON], NOW, ScoreRules(least_availability=0.0)) is None


def test_other_weights_and_another_pace_give_another_score() -> None:
    agent = able("ada", Level.EXPERT, average_ms=1_000)
    assert scored(agent, ["python"], NOW, ScoreRules(weights={Term.TIME: 2.0}, pace_ms=3_000)).score == 0.75


def test_evidence_counts_for_the_level_where_the_rules_ask_for_it() -> None:
    skill = Skill(name="python", level=Level.INTERMEDIATE, completed=20.0, at_ms=NOW)
    agent = Candidate(agent="ada", skills={"python": skill})
    need = SkillNeed(name="python", level=Level.ADVANCED)
    assert offer_of(agent, [need], NOW) is None
    assert offer_of(agent, [need], NOW, ScoreRules(evidence=EvidenceRule())) is not None


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (ScoreRules(weights={Term.LEVEL: -1.0}), "weight -1.0 of level is not 0 or more"),
        (ScoreRules(weights={}), "all weights of the score are 0"),
        (ScoreRules(pace_ms=0), "pace of 0 ms is not over 0"),
        (ScoreRules(least_availability=1.5), "least availability 1.5 is not 0 to 1"),
    ],
)
def test_rules_that_cannot_score_are_refused(rules: ScoreRules, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        check_rules(rules)


shares = st.floats(0, 1)
some_terms = st.fixed_dictionaries(dict.fromkeys(Term, shares))


@given(some_terms, st.sampled_from(Term), shares)
def test_a_better_term_never_makes_a_worse_score(terms: Mapping[Term, float], term: Term, value: float) -> None:
    before, after = weighed(terms, WEIGHTS), weighed({**terms, term: value}, WEIGHTS)
    assert 0 <= before <= 1 + 1e-9
    assert (after >= before - 1e-9) if value >= terms[term] else (after <= before + 1e-9)


@given(st.integers(0, 4), st.floats(0, 1e6), st.floats(0, 1e4), shares, st.sampled_from(Level))
def test_load_slowness_and_cost_only_ever_lower_a_score(
    taken: int, average_ms: float, cost: float, success: float, level: Level
) -> None:
    agent = able("ada", level, success=success, average_ms=average_ms or 1.0, taken=taken, cost=cost)
    score = score_of(agent).score
    assert 0 < score <= 1
    assert score_of(replace(agent, taken=taken + 1)).score < score
    assert score_of(replace(agent, cost=cost + 1)).score < score
    slower = able("ada", level, success=success, average_ms=average_ms + 1_000, taken=taken, cost=cost)
    assert score_of(slower).score < score
