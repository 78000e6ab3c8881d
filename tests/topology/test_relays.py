"""Forty relays, the busiest killed: messages go round it."""

import pytest

from meshd.topology.model import EdgeRules, WeightRule
from tests.topology.relays import Outcome, Relays

SEEDS = range(2)
WARM_UP = 5
PERIODS = 6
SETTLED = 3
"""Probe periods after which messages must go round."""


def runs(rule: WeightRule, *, avoids: bool) -> list[Outcome]:
    return [
        Relays(EdgeRules(rule=rule), seed=seed, avoids=avoids).run(periods=PERIODS, warm_up=WARM_UP) for seed in SEEDS
    ]


def settled_share(outcomes: list[Outcome]) -> float:
    shares = [share for outcome in outcomes for share in outcome.avoiding[SETTLED:]]
    return sum(shares) / len(shares)


def test_the_bounded_rule_alone_has_99_of_100_messages_avoid_a_killed_relay_within_three_probes() -> None:
    outcomes = runs(WeightRule.BOUNDED, avoids=False)
    assert min(outcome.carried for outcome in outcomes) >= 10
    assert settled_share(outcomes) >= 0.99
    assert max(outcome.lost for outcome in outcomes) <= 30


@pytest.mark.parametrize("rule", list(WeightRule))
def test_with_what_probes_say_either_rule_avoids_it_altogether(rule: WeightRule) -> None:
    assert settled_share(runs(rule, avoids=True)) == 1.0


def test_the_additive_rule_alone_goes_on_losing_messages() -> None:
    assert settled_share(runs(WeightRule.ADDITIVE, avoids=False)) < 0.9


def test_the_same_seed_is_the_same_story() -> None:
    first, again = (Relays(EdgeRules(), seed=5, avoids=True).run(periods=1, warm_up=1) for _ in range(2))
    assert first == again
