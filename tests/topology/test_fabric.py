"""The living graph: joins, leaves, uses and time, with exact numbers."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshd.topology.dues import Dues
from meshd.topology.fabric import MOST_EDGES, Fabric
from meshd.topology.graph import graph_at, statistics
from meshd.topology.model import EdgeRules, GraphStatistics, Shape, Use, WeightRule
from meshd.topology.weights import is_spent

RULES = EdgeRules()
START = 1_700_000_000_000
FOUR: dict[str, str] = dict.fromkeys(("fraud", "inventory", "sales", "support"), "n1")


def four_agents() -> Fabric:
    fabric = Fabric(RULES)
    fabric.meet(FOUR, shape=Shape.MESH, now_ms=START)
    return fabric


def numbers(fabric: Fabric, *, after_s: float = 0) -> GraphStatistics:
    now_ms = START + int(after_s * 1000)
    return statistics(graph_at(fabric.edges(), fabric.homes, now_ms=now_ms, rules=fabric.rules), fabric.rules)


def test_four_agents_have_twelve_edges_all_at_a_half_and_none_to_itself() -> None:
    fabric = four_agents()
    assert all(edge.weight == 0.5 and edge.source != edge.target for edge in fabric.edges())
    assert numbers(fabric) == GraphStatistics(
        agents=4,
        edges=12,
        active_edges=12,
        average_weight=0.5,
        max_weight=0.5,
        min_weight=0.5,
        density=1.0,
        reduction_percent=0.0,
    )


def test_agents_that_come_one_by_one_get_the_same_edges() -> None:
    fabric, members = Fabric(RULES), dict[str, str]()
    for agent in FOUR:
        members[agent] = "n1"
        fabric.meet(members, shape=Shape.MESH, now_ms=START)
    assert {(e.source, e.target) for e in fabric.edges()} == {(e.source, e.target) for e in four_agents().edges()}


def test_nobody_and_one_alone_have_density_zero() -> None:
    fabric = Fabric(RULES)
    assert numbers(fabric).density == 0.0
    fabric.meet({"alone": "n1"}, shape=Shape.MESH, now_ms=START)
    assert (numbers(fabric).agents, numbers(fabric).edges, numbers(fabric).reduction_percent) == (1, 0, 100.0)


def test_unused_edges_are_gone_after_two_minutes_and_used_ones_stay() -> None:
    fabric = four_agents()
    for second in range(0, 125, 5):
        fabric.use(Use(source="sales", target="fraud"), at_ms=START + second * 1000)
    assert fabric.prune(START + 114_999) == []
    gone = fabric.prune(START + 120_000)
    assert len(gone) == 11
    assert [(edge.source, edge.target) for edge in fabric.edges()] == [("sales", "fraud")]
    assert numbers(fabric, after_s=120).reduction_percent == pytest.approx(100 * 11 / 12)


def test_readers_see_an_edge_gone_even_while_nobody_prunes() -> None:
    fabric = four_agents()
    assert numbers(fabric, after_s=110).edges == 12
    assert numbers(fabric, after_s=120).edges == 0


@pytest.mark.parametrize("is_pruned", [True, False])
def test_a_path_comes_back_on_its_first_use_at_the_initial_weight_and_a_tenth(is_pruned: bool) -> None:
    fabric = four_agents()
    later = START + 200_000
    if is_pruned:
        fabric.prune(later)
    fabric.use(Use(source="sales", target="support"), at_ms=later)
    edge = fabric.edge("sales", "support")
    assert edge is not None
    assert (edge.weight, edge.usage, edge.created_ms) == (0.6, 1, later)


def test_who_leaves_takes_all_its_edges_along() -> None:
    fabric = four_agents()
    fabric.taken_changes()
    fabric.meet({agent: "n1" for agent in FOUR if agent != "sales"}, shape=Shape.MESH, now_ms=START)
    changes = fabric.taken_changes()
    assert numbers(fabric).edges == 6
    assert len(changes.removed) == 6
    assert changes.left == {"sales": "n1"}
    assert changes.sources == {"fraud", "inventory", "support"}


def test_uses_of_strangers_and_of_oneself_count_nothing() -> None:
    fabric = four_agents()
    fabric.taken_changes()
    for source, target in (("sales", "client:1"), ("role:consensus", "sales"), ("sales", "sales")):
        assert not fabric.use(Use(source=source, target=target), at_ms=START)
    assert not fabric.taken_changes()


def test_a_failure_brings_no_path_back() -> None:
    fabric = four_agents()
    fabric.prune(START + 120_000)
    assert not fabric.use(Use(source="sales", target="fraud", quality=0), at_ms=START + 120_000)
    assert list(fabric.edges()) == []


def test_pruning_leaves_the_least_degree_and_takes_the_thinnest_first() -> None:
    fabric = Fabric(EdgeRules(rule=WeightRule.BOUNDED, min_degree=2))
    fabric.meet(FOUR, shape=Shape.MESH, now_ms=START)
    fabric.use(Use(source="sales", target="fraud", count=5), at_ms=START)
    fabric.use(Use(source="sales", target="support", count=2), at_ms=START)
    fabric.prune(START + 3_600_000)
    assert all(len(fabric.edges_of(agent)) == 2 for agent in FOUR)
    assert numbers(fabric, after_s=3_600).edges == 8


def test_newcomers_to_a_ring_get_the_edges_the_ring_gives_them() -> None:
    fabric = Fabric(RULES)
    fabric.meet(dict.fromkeys("acd", "n1"), shape=Shape.RING, now_ms=START)
    fabric.meet(dict.fromkeys("abcd", "n1"), shape=Shape.RING, now_ms=START)
    assert {edge.target for edge in fabric.edges_of("b")} == {"a", "c"}
    assert len(list(fabric.edges())) == 10


def test_an_agent_with_too_many_edges_gives_up_its_thinnest() -> None:
    fabric = Fabric(RULES)
    fabric.meet({"hub": "n1"}, shape=Shape.MESH, now_ms=START)
    members = {"hub": "n1", **{f"a{number:05}": "n1" for number in range(MOST_EDGES + 1)}}
    fabric.meet(members, shape=Shape.RING, now_ms=START)
    for number in range(MOST_EDGES + 1):
        fabric.use(Use(source="hub", target=f"a{number:05}", count=2 if number else 1), at_ms=START + number)
    assert len(fabric.edges_of("hub")) == MOST_EDGES
    assert fabric.edge("hub", "a00000") is None


def test_only_what_is_due_is_taken_the_earliest_first() -> None:
    dues = Dues[str]()
    for key, due in (("c", 30), ("a", 10), ("b", 20), ("never", None)):
        dues.set(key, due)
    dues.set("a", 25)
    assert (dues.next_ms, "never" in dues) == (20, False)
    assert dues.take(19) == []
    assert dues.take(25) == ["b", "a"]
    dues.set("c", None)
    assert dues.next_ms is None
    assert len(dues) == 0


def test_a_key_set_ten_thousand_times_is_due_once() -> None:
    dues, rng = Dues[int](), Random(1)
    for _ in range(10_000):
        dues.set(rng.randrange(5), rng.randrange(1_000))
    assert sorted(dues.take(1_000)) == [0, 1, 2, 3, 4]


class Living(RuleBasedStateMachine):
    """Random lives of a graph: whatever happens, its promises hold."""

    @initialize(
        rules=st.sampled_from([RULES, EdgeRules(rule=WeightRule.BOUNDED), EdgeRules(decay=0.05)]),
        shape=st.sampled_from(Shape),
    )
    def begin(self, rules: EdgeRules, shape: Shape) -> None:
        self.fabric, self.shape, self.now_ms = Fabric(rules), shape, START

    @rule(agents=st.sets(st.sampled_from("abcdefgh")))
    def meet(self, agents: set[str]) -> None:
        self.fabric.meet(dict.fromkeys(agents, "n1"), shape=self.shape, now_ms=self.now_ms)

    @rule(
        source=st.sampled_from("abcdefgh"),
        other=st.sampled_from("abcdefgh"),
        count=st.integers(min_value=1, max_value=9),
        quality=st.sampled_from([0.0, 0.4, 1.0]),
    )
    def use(self, source: str, other: str, count: int, quality: float) -> None:
        self.fabric.use(Use(source=source, target=other, count=count, quality=quality), at_ms=self.now_ms)

    @rule(passed=st.integers(min_value=0, max_value=200_000))
    def wait_and_prune(self, passed: int) -> None:
        self.now_ms += passed
        self.fabric.prune(self.now_ms)
        assert not any(is_spent(edge, self.now_ms, self.fabric.rules) for edge in self.fabric.edges())

    @invariant()
    def every_edge_joins_two_agents_that_are_here(self) -> None:
        for edge in self.edges():
            assert edge[0] != edge[1]
            assert {edge[0], edge[1]} <= set(self.fabric.homes)

    @invariant()
    def weights_are_between_zero_and_one(self) -> None:
        assert all(0 <= edge.weight <= 1 for edge in self.fabric.edges()) if hasattr(self, "fabric") else True

    @invariant()
    def the_numbers_are_those_of_the_edges(self) -> None:
        if not hasattr(self, "fabric"):
            return
        graph = graph_at(self.fabric.edges(), self.fabric.homes, now_ms=self.now_ms, rules=self.fabric.rules)
        found = statistics(graph, self.fabric.rules)
        assert 0 <= found.density <= 1
        assert found.reduction_percent == pytest.approx(100 * (1 - found.density))
        assert found.edges <= len(list(self.fabric.edges()))

    def edges(self) -> Iterator[tuple[str, str]]:
        if hasattr(self, "fabric"):
            yield from ((edge.source, edge.target) for edge in self.fabric.edges())


TestLiving = Living.TestCase
TestLiving.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
