"""A swarm finds the best of several options, and never two."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError
from meshd.votes.bees import BeeRules, Finding, chosen, find, gathered, heads, noisy, step

ONE_GOOD = (0.9, 0.6, 0.5, 0.3)


def found(seed: int, *, agents: int = 20, qualities: tuple[float, ...] = ONE_GOOD, plurality: bool = False) -> Finding:
    rng = Random(seed)
    return find(noisy(qualities, rng=rng), agents=agents, options=len(qualities), rng=rng, plurality=plurality)


def test_twenty_agents_find_the_best_of_four_in_ninety_of_a_hundred_seeds() -> None:
    options = Counter(found(seed).option for seed in range(100))
    assert options[0] >= 90


@pytest.mark.parametrize(("agents", "least"), [(5, 75), (10, 85), (100, 99)])
def test_more_agents_are_surer(agents: int, least: int) -> None:
    assert Counter(found(seed, agents=agents).option for seed in range(100))[0] >= least


def test_half_of_the_swarms_decide_at_the_end_of_the_warm_up() -> None:
    ticks = sorted(found(seed).tick for seed in range(100))
    assert ticks[0] == 6
    assert ticks[50] <= 8


def test_one_of_equals_is_chosen_and_each_has_its_chance() -> None:
    options = Counter(found(seed, qualities=(0.8,) * 4).option for seed in range(100))
    assert options[None] <= 4
    assert all(options[option] >= 8 for option in range(4))


def test_where_all_are_poor_nothing_is_chosen() -> None:
    assert {found(seed, qualities=(0.3,) * 4).option for seed in range(30)} == {None}


def test_who_asks_for_plurality_gets_it_without_a_quorum() -> None:
    ends = [found(seed, qualities=(0.3,) * 4, plurality=True) for seed in range(30)]
    assert any(end.by_plurality for end in ends)
    for end in ends:
        assert end.tick == 80
        assert end.option is None or end.heads[end.option] > sorted(end.heads)[-2]


def test_the_same_seed_finds_the_same() -> None:
    assert found(7) == found(7)


@given(st.integers(0, 10_000), st.integers(1, 25), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_there_are_never_two_winners(seed: int, agents: int, qualities: list[float]) -> None:
    rng = Random(seed)
    swarm = gathered(agents=agents, options=len(qualities))
    look = noisy(qualities, rng=rng)
    for _ in range(15):
        swarm = step(swarm, look, rng=rng)
        assert sum(count * 1_000 >= agents * 600 for count in heads(swarm)) <= 1
        option = chosen(swarm)
        if option is not None:
            assert swarm.tick >= 6
            assert heads(swarm)[option] * 1_000 >= agents * 600


def test_a_quorum_two_could_have_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="500 permil"):
        BeeRules(quorum_permil=500)


def test_nobody_finds_nothing() -> None:
    with pytest.raises(InvalidArgumentError):
        found(1, agents=0)
