"""Groups that cover: the cheapest where the search is exact, one wherever there is one, and never an idler."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.groups.covering import EXACT_OFFERS, Cover, cover, least_size, price_with
from meshd.groups.model import Offer
from meshd.groups.shares import is_even, price

FOUR = ("collect", "clean", "model", "plot")
SKILLS = tuple("abcdef")


def offer(agent: str, *skills: str, score: float = 0.5, given: float = 0.0) -> Offer:
    return Offer(agent=agent, incarnation=1, skills=skills, score=score, availability=1.0, given=given)


@st.composite
def many_offers(draw: st.DrawFn, *, most: int = 9, names: Sequence[str] = SKILLS) -> list[Offer]:
    brought = draw(st.lists(st.lists(st.sampled_from(names), unique=True, max_size=4), max_size=most))
    scores = draw(st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.9]), min_size=len(brought), max_size=len(brought)))
    return [
        offer(f"a{at}", *skills, score=score) for at, (skills, score) in enumerate(zip(brought, scores, strict=True))
    ]


def brute(names: Iterable[str], offers: Sequence[Offer], *, max_size: int) -> float | None:
    """Return the least price of all groups there are."""
    wanted = set(names)
    prices = [
        sum(map(price, group))
        for size in range(max_size + 1)
        for group in combinations(offers, size)
        if wanted <= {name for one in group for name in one.skills}
    ]
    return min(prices, default=None)


def check(found: Cover, names: Sequence[str], offers: Sequence[Offer], *, max_size: int) -> None:
    """Assert that the group is one, and that everybody in it is needed."""
    skills_of = {one.agent: set(one.skills) for one in offers}
    assert len(found.roles) <= max_size
    assert sorted(role for roles in found.roles.values() for role in roles) == sorted(set(names))
    for agent, roles in found.roles.items():
        assert roles
        assert set(roles) <= skills_of[agent]
        others = {name for other in found.roles if other != agent for name in skills_of[other]}
        assert not set(names) <= others


def test_one_agent_with_all_skills_is_cheaper_than_one_for_each() -> None:
    found = cover("ab", [offer("x", "a"), offer("y", "b"), offer("z", "a", "b")], max_size=5)
    assert found == Cover(roles={"z": ("a", "b")}, price=8.0, is_least=True)


def test_two_good_ones_are_cheaper_than_a_poor_one() -> None:
    offers = [offer("x", "a", score=1.0), offer("y", "b", score=1.0), offer("z", "a", "b", score=0.5)]
    assert cover("ab", offers, max_size=2) == Cover(roles={"x": ("a",), "y": ("b",)}, price=2.0, is_least=True)
    assert cover("ab", offers, max_size=1) == Cover(roles={"z": ("a", "b")}, price=8.0, is_least=True)


def test_each_skill_goes_to_the_best_of_those_in_the_group() -> None:
    offers = [offer("x", "a", "b", score=0.5), offer("y", "b", "c", score=1.0)]
    found = cover("abc", offers, max_size=2)
    assert found is not None
    assert found.roles == {"x": ("a",), "y": ("b", "c")}


def test_a_skill_that_nobody_offers_has_no_group() -> None:
    assert cover("abc", [offer("x", "a", "b")], max_size=5) is None
    assert cover("a", [], max_size=5) is None
    assert cover((), [], max_size=5) == Cover(roles={}, price=0.0, is_least=True)


def test_no_group_is_larger_than_it_may_be() -> None:
    offers = [offer("x", "a"), offer("y", "b"), offer("z", "c")]
    assert cover("abc", offers, max_size=2) is None
    assert cover("abc", offers, max_size=3) is not None
    assert (least_size("abc", offers), least_size("abcd", offers)) == (3, None)


def test_a_greedy_choice_that_blocks_the_way_is_not_made() -> None:
    offers = [offer("big", "a", "b", "c", "d", score=1.0), offer("odd", "a", "c", "e"), offer("even", "b", "d", "f")]
    found = cover(SKILLS, offers, max_size=2)
    assert found is not None
    assert set(found.roles) == {"odd", "even"}


def test_who_was_given_less_is_asked_between_equals() -> None:
    offers = [offer("a", "x", given=1.0), offer("b", "x"), offer("c", "x", given=0.5)]
    found = cover("x", offers, max_size=5)
    assert found is not None
    assert set(found.roles) == {"b"}


def test_between_equals_each_announcement_has_its_own_order() -> None:
    offers = [offer(f"a{number}", "x") for number in range(25)]
    asked = [cover("x", offers, max_size=5, salt=f"id-{number}") for number in range(200)]
    assert len({tuple(found.roles) for found in asked if found}) == 25
    assert cover("x", offers, max_size=5, salt="id-1") == asked[1]


def test_one_announcement_in_twenty_looks_at_no_score() -> None:
    offers = [offer("best", "x", score=1.0), offer("poor", "x", score=0.1, given=0.0)]
    ids = [f"id-{number}" for number in range(2_000)]
    found = {name: cover("x", offers, max_size=5, salt=name) for name in ids}
    even = [name for name in ids if is_even(name)]
    assert 60 <= len(even) <= 140
    to_the_poor = [name for name, group in found.items() if group and "poor" in group.roles]
    assert set(to_the_poor) <= set(even)
    assert 0.3 < len(to_the_poor) / len(even) < 0.7
    assert all(group is not None and group.is_even is is_even(name) for name, group in found.items())


def test_a_hundred_agents_of_four_skills_make_a_group_of_four() -> None:
    offers = [offer(f"agent-{number:03}", FOUR[number // 25], score=0.5 + number / 1_000) for number in range(100)]
    found = cover(FOUR, offers, max_size=5)
    assert found is not None
    check(found, FOUR, offers, max_size=5)
    assert found.roles == {f"agent-{25 * at + 24:03}": (name,) for at, name in reversed(list(enumerate(FOUR)))}
    assert found.is_least


@given(many_offers(), st.integers(0, 5), st.integers(1, 6))
def test_the_cheapest_group_is_found_wherever_there_is_one(offers: list[Offer], max_size: int, count: int) -> None:
    names = SKILLS[:count]
    least, found = brute(names, offers, max_size=max_size), cover(names, offers, max_size=max_size)
    assert (found is None) is (least is None)
    if found is not None and least is not None:
        assert found.is_least
        assert found.price == pytest.approx(least)
        check(found, names, offers, max_size=max_size)


def test_who_is_passed_over_would_have_made_a_dearer_group() -> None:
    offers = [offer("x", "a", score=1.0), offer("y", "b", score=1.0), offer("z", "a", "b", score=0.5)]
    assert [price_with(agent, "ab", offers, max_size=2) for agent in "xyzq"] == [2.0, 2.0, 8.0, None]
    assert price_with("x", "ab", offers, max_size=1) is None


@given(many_offers(), st.integers(1, 4))
def test_the_cheapest_group_with_somebody_in_it_is_as_by_trying_all(offers: list[Offer], max_size: int) -> None:
    wanted = set(SKILLS[:4])
    for own in offers:
        others = [one for one in offers if one is not own]
        prices = [
            price(own) + sum(map(price, group))
            for size in range(max_size)
            for group in combinations(others, size)
            if wanted <= {name for one in (own, *group) for name in one.skills}
        ]
        found = price_with(own.agent, SKILLS[:4], offers, max_size=max_size)
        assert found == (pytest.approx(min(prices)) if prices else None)


@given(many_offers(most=EXACT_OFFERS), st.integers(1, 5), st.randoms(use_true_random=False), st.sampled_from(["", "i"]))
def test_the_order_of_offers_changes_nothing(offers: list[Offer], max_size: int, rng: Random, name: str) -> None:
    found = cover(SKILLS, offers, max_size=max_size, salt=name)
    rng.shuffle(offers)
    assert cover(SKILLS, offers, max_size=max_size, salt=name) == found


@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 7))
def test_up_to_seven_skills_are_searched_exactly_however_many_offer(seed: int, count: int, max_size: int) -> None:
    rng, names = Random(seed), [f"s{number}" for number in range(count)]
    offers = [offer(f"a{at}", *rng.sample(names, rng.randint(1, count)), score=rng.random()) for at in range(300)]
    found = cover(names, offers, max_size=max_size)
    assert found is not None
    assert found.is_least
    check(found, names, offers, max_size=max_size)


@given(st.integers(0, 2**32))
def test_beyond_that_a_group_is_whole_and_without_idlers(seed: int) -> None:
    rng, names = Random(seed), [f"s{number:02}" for number in range(20)]
    offers = [offer(f"a{at:03}", *rng.sample(names, rng.randint(1, 3)), score=rng.random()) for at in range(200)]
    found = cover(names, offers, max_size=20)
    assert found is not None
    assert not found.is_least
    check(found, names, offers, max_size=20)
    rng.shuffle(offers)
    assert cover(names, offers, max_size=20) == found


def test_greedy_too_takes_those_who_bring_enough_for_the_places_left() -> None:
    names = [f"s{number:02}" for number in range(20)]
    halves = [offer("left", *names[:10], score=0.3), offer("right", *names[10:], score=0.3)]
    singles = [offer(f"a{at}", name, names[(at + 7) % 20], score=1.0) for at, name in enumerate(names)]
    found = cover(names, [*singles, *halves], max_size=2)
    assert found is not None
    assert set(found.roles) == {"left", "right"}
    assert not found.is_least
