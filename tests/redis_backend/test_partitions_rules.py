"""Where tasks are kept, and which partitions a claim visits."""

from collections import Counter
from random import Random

import pytest

from meshd.backends.redis.partitions import partition_of
from meshd.backends.redis.rounds import Plan, Rounds
from meshd.ids import TAIL, new_id, tail_of

BELL = "n1:1:ab"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rounds(clock: Clock) -> Rounds:
    return Rounds(partitions=6, valid_ms=1_000, now_ms=clock, chance=Random(7))


def visit(plan: Plan, stock: "Counter[int]") -> list[int]:
    """Carry out a plan against partitions that hold so many tasks; return the partitions visited."""
    seen: list[int] = []
    while wave := plan.wave():
        found = {number: min(share, stock[number]) for number, share in wave}
        stock.subtract(found)
        seen += [number for number, _ in wave]
        plan.visited(found)
    if plan.is_fruitless and plan.passed_over:
        plan.add([number for number in plan.passed_over if stock[number] > 0])
        if wave := plan.wave():
            found = {number: min(share, stock[number]) for number, share in wave}
            stock.subtract(found)
            seen += [number for number, _ in wave]
            plan.visited(found)
    return seen


def test_ids_made_for_one_key_are_kept_together() -> None:
    ids = [new_id(key="order-1") for _ in range(20)]
    assert len(set(ids)) == 20
    assert {made[-TAIL:] for made in ids} == {tail_of("order-1")}
    assert len({partition_of(made, 24) for made in ids}) == 1


def test_ids_spread_evenly_over_the_partitions() -> None:
    plain = Counter(partition_of(new_id(), 8) for _ in range(8_000))
    keyed = Counter(partition_of(new_id(key=f"k{n}"), 8) for n in range(8_000))
    for found in (plain, keyed):
        assert len(found) == 8
        assert all(800 < count < 1_200 for count in found.values())


def test_a_claim_of_an_idle_mesh_visits_every_partition_once(rounds: Rounds) -> None:
    seen = visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter())
    assert sorted(seen) == list(range(6))


def test_a_claim_that_one_partition_fills_visits_no_other(rounds: Rounds) -> None:
    seen = visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter(dict.fromkeys(range(6), 100)))
    assert len(seen) == 1


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_claim_asks_for_no_more_than_its_limit_and_finds_what_there_is(rounds: Rounds, limit: int) -> None:
    stock = Counter({0: 1, 2: 5, 5: 2})
    visit(rounds.plan(BELL, limit=limit, rung=set(), missed=False), stock)
    assert sum(stock.values()) == 8 - min(limit, 8)


def test_after_a_round_only_the_partitions_that_rang_are_visited(rounds: Rounds) -> None:
    visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter())
    assert visit(rounds.plan(BELL, limit=10, rung={4}, missed=False), Counter({4: 1})) == [4]


def test_a_claim_that_nothing_rang_for_visits_only_where_something_is(rounds: Rounds) -> None:
    visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter())
    assert visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter({3: 1})) == [3]
    assert len(visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter())) == 1


def test_a_ring_that_led_to_nothing_has_the_others_looked_into(rounds: Rounds) -> None:
    visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter())
    assert visit(rounds.plan(BELL, limit=10, rung={1}, missed=False), Counter({3: 1})) == [1, 3]


def test_a_registration_that_ran_out_or_may_have_missed_a_ring_is_made_again(rounds: Rounds, clock: Clock) -> None:
    for change in ("time", "line"):
        visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter())
        clock.now += 1_000 if change == "time" else 0
        plan = rounds.plan(BELL, limit=10, rung={4}, missed=change == "line")
        assert sorted(visit(plan, Counter())) == list(range(6))


def test_a_busy_claimer_starves_no_partition(rounds: Rounds) -> None:
    first = Counter(
        visit(rounds.plan(BELL, limit=10, rung=set(), missed=False), Counter(dict.fromkeys(range(6), 100)))[0]
        for _ in range(300)
    )
    assert sorted(first) == list(range(6))
