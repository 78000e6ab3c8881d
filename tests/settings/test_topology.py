"""Settings of the topology: every number can be set, by its older name too, and what cannot work is refused."""

from typing import Any

import pytest

from meshd.errors import ConfigurationError
from meshd.settings import Settings
from meshd.topology.keeping import KeepingOptions
from meshd.topology.model import EdgeRules, Shape, WeightRule

OLDER = {
    "INITIAL_EDGE_WEIGHT": "0.4",
    "REINFORCEMENT_AMOUNT": "0.2",
    "DECAY_RATE": "0.05",
    "DECAY_INTERVAL": "10s",
    "PRUNE_THRESHOLD": "0.15",
}


def test_the_defaults_are_those_of_the_rules() -> None:
    assert Settings().topology.options() == KeepingOptions(rules=EdgeRules())


def test_every_older_name_sets_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OLDER.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.topology.options().rules == EdgeRules(
        initial=0.4, reinforcement=0.2, decay=0.05, interval_ms=10_000, prune_below=0.15
    )
    assert len([note for note in settings.notes if "older name" in note]) == len(OLDER)


def test_rule_and_shape_are_chosen_by_name() -> None:
    settings = Settings.load(topology__rule="bounded", topology__shape="tree", topology__min_degree=2)
    options = settings.topology.options()
    assert (options.rules.rule, options.shape, options.rules.min_degree) == (WeightRule.BOUNDED, Shape.TREE, 2)


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"topology__rule": "other"}, "topology.rule"),
        ({"topology__shape": "cube"}, "topology.shape"),
        ({"topology__initial_edge_weight": 0.1}, "must be over prune_threshold 0.1"),
        ({"topology__rule": "bounded", "topology__floor": 0.2}, "floor 0.2 must not be over prune_threshold 0.1"),
    ],
)
def test_what_cannot_work_is_refused_by_name(values: dict[str, Any], fact: str) -> None:
    with pytest.raises(ConfigurationError, match=fact):
        Settings.load(**values)
