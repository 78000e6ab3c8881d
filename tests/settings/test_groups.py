"""What the settings of groups make of the rules, and what each of them refuses."""

import pytest

from meshd.errors import ConfigurationError
from meshd.groups.scoring import check_rules
from meshd.groups.shares import ShareRules
from meshd.groups.steps import Rules
from meshd.settings import Settings


def loaded(**groups: object) -> Settings:
    return Settings.load(groups=groups)


def test_the_defaults_are_those_of_the_rules() -> None:
    rules, own = Settings().groups.rules(), Rules()
    for name in own.__slots__:
        if name != "select":
            assert getattr(rules, name) == getattr(own, name), name
    assert Settings().groups.shares() == ShareRules()
    assert check_rules(Settings().groups.scores()).floor == 0.25


def test_what_is_set_reaches_the_rules() -> None:
    groups = loaded(formation_seconds=3, hold_seconds=1, emphasis=1, even_one_in=0, reputation_floor=0.1).groups
    assert (groups.rules().formation_ms, groups.rules().hold_ms, groups.rules().hold_margin_ms) == (3_000, 1_000, 250)
    assert groups.shares() == ShareRules(emphasis=1, even_one_in=0)
    assert groups.scores().floor == 0.1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_announcements", 0), ("slots", 0), ("max_size", 101), ("formation_seconds", 0), ("offer_window_ms", -1),
        ("enough_offers", 0), ("hold_seconds", 0), ("start_seconds", 0), ("lifetime_seconds", 0), ("kept_seconds", 0),
        ("max_reformations", -1), ("skill_update_seconds", 0), ("most_asked", 0), ("emphasis", 11),
        ("even_one_in", -1), ("least_availability", 1.1), ("reputation_floor", -0.1), ("pace_seconds", 0),
    ],
)  # fmt: skip
def test_each_refuses_what_cannot_be(key: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"groups.{key}"):
        loaded(**{key: value})
