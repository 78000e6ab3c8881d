"""Placement: what one process makes of the nodes it sees, policy by policy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from meshd.errors import InvalidArgumentError, NoCandidateError
from meshd.nodes.model import Node, NodeProfile, NodeStatus, TypeHistory, Verdict, Vitals
from meshd.tasks.decision import MAX_BYTES, Decision, decode_decision
from meshd.tasks.model import NewTask
from meshd.tasks.placement import FRESH_SECONDS, STALE_SECONDS, PlacementSettings, Placer
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task
from meshd.tasks.scoring import RoutingPolicy


def a_node(
    node_id: str,
    *capabilities: str,
    open_tasks: int = 0,
    capacity: int = 100,
    node_type: str = "general",
    status: NodeStatus = NodeStatus.ACTIVE,
    history: TypeHistory | None = None,
    labels: dict[str, str] | None = None,
) -> Node:
    return Node(
        profile=NodeProfile(
            id=node_id,
            type=node_type,
            capabilities=frozenset(capabilities),
            task_types=frozenset({"work"}),
            capacity=capacity,
            labels=labels or {},
        ),
        incarnation=1,
        verdict=Verdict.ALIVE,
        vitals=Vitals(status=status, open_tasks=open_tasks, history={"work": history} if history else {}),
        joined_ms=0,
        beat_ms=0,
        read_ms=0,
    )


@dataclass
class Sight:
    """The nodes as a placer sees them, at a time of the test's choosing."""

    nodes: list[Node]
    now: float = 100.0
    looks: int = 0

    async def look(self, *, include_dead: bool = False) -> Sequence[Node]:
        del include_dead
        self.looks += 1
        return list(self.nodes)

    def placer(self, policy: RoutingPolicy, *, seed: int | None = None) -> Placer:
        return Placer(self.look, PlacementSettings(policy=policy, seed=seed), clock=lambda: self.now)


def sight(*nodes: Node) -> Sight:
    return Sight(list(nodes))


async def place(placer: Placer, *requests: TaskRequest) -> list[NewTask]:
    return await placer.place(requests, [new_task(request, TaskDefaults()) for request in requests])


def places(tasks: Sequence[NewTask]) -> list[str | None]:
    return [None if task.placement is None else task.placement.node_id for task in tasks]


def decision_of(task: NewTask) -> Decision:
    assert task.decision is not None
    return decode_decision(task.decision)


WORK = TaskRequest(type="work")


async def test_late_binding_concerns_only_tasks_with_preferences() -> None:
    placer = sight(a_node("a")).placer(RoutingPolicy.LATE_BINDING)
    assert not placer.concerns([WORK, replace(WORK, requires=["gpu"], node="a"), replace(WORK, not_on=["a"])])
    for wishing in (
        replace(WORK, prefers=["gpu"]),
        replace(WORK, preferred_types=["general"]),
        replace(WORK, routing="random"),
    ):
        assert placer.concerns([WORK, wishing])
    assert sight().placer(RoutingPolicy.RANDOM).concerns([WORK])


async def test_least_loaded_takes_the_minimum_and_its_ties_are_stable() -> None:
    seen = sight(
        a_node("a", open_tasks=2, capacity=4), a_node("b", open_tasks=1, capacity=4), a_node("c", open_tasks=3)
    )
    placer = seen.placer(RoutingPolicy.LEAST_LOADED)
    assert places(await place(placer, WORK)) == ["c"]
    equal = [
        places(await place(sight(a_node("b"), a_node("a")).placer(RoutingPolicy.LEAST_LOADED), WORK)) for _ in "12"
    ]
    assert equal == [["a"], ["a"]]


async def test_a_burst_is_spread_by_what_was_placed_before() -> None:
    placer = sight(a_node("a", open_tasks=4), a_node("b"), a_node("c")).placer(RoutingPolicy.LEAST_LOADED)
    assert Counter(places(await place(placer, *[WORK] * 8))) == {"b": 4, "c": 4}


@pytest.mark.parametrize(("tasks", "nodes"), [(10, 3), (7, 7), (100, 6), (1, 4)])
async def test_round_robin_counts_differ_by_at_most_one(tasks: int, nodes: int) -> None:
    seen = sight(*(a_node(f"n{number}") for number in range(nodes)))
    placer = seen.placer(RoutingPolicy.ROUND_ROBIN)
    counts = Counter[str | None]({f"n{number}": 0 for number in range(nodes)})
    for _ in range(tasks):
        counts.update(places(await place(placer, WORK)))
        seen.now += 0.3
    assert max(counts.values()) - min(counts.values()) <= 1


async def test_a_node_that_joins_takes_its_turn_and_is_not_flooded() -> None:
    seen = sight(a_node("a"), a_node("b"))
    placer = seen.placer(RoutingPolicy.ROUND_ROBIN)
    await place(placer, *[WORK] * 20)
    seen.nodes.append(a_node("c"))
    seen.now += FRESH_SECONDS
    assert Counter(places(await place(placer, *[WORK] * 6))) == {"a": 2, "b": 2, "c": 2}


async def test_capability_based_takes_the_closest_fit_not_the_first() -> None:
    seen = sight(a_node("a", "gpu", "ocr", "pdf"), a_node("b", "gpu"), a_node("c", "gpu", "pdf"))
    placer = seen.placer(RoutingPolicy.CAPABILITY_BASED)
    assert places(await place(placer, replace(WORK, requires=["gpu"]))) == ["b"]
    assert places(await place(placer, replace(WORK, requires=["pdf"]))) == ["c"]


async def test_random_is_uniform_and_a_seed_repeats_it() -> None:
    seen = sight(*(a_node(f"n{number}", capacity=10_000) for number in range(4)))
    drawn = places(await place(seen.placer(RoutingPolicy.RANDOM, seed=7), *[WORK] * 1000))
    assert min(Counter(drawn).values()) > 190
    assert drawn == places(await place(seen.placer(RoutingPolicy.RANDOM, seed=7), *[WORK] * 1000))
    assert drawn != places(await place(seen.placer(RoutingPolicy.RANDOM, seed=8), *[WORK] * 1000))


async def test_affinity_goes_where_the_type_has_succeeded_until_that_is_busy() -> None:
    good, bad = TypeHistory(completed=5), TypeHistory(completed=1, failed=4)
    seen = sight(a_node("a"), a_node("b", history=bad), a_node("c", history=good, capacity=4))
    placed = places(await place(seen.placer(RoutingPolicy.AFFINITY), *[WORK] * 6))
    assert placed[0] == "c"
    assert Counter(placed)["c"] < 6
    assert placed[-1] == "a"


async def test_a_preferred_type_is_taken_while_it_has_a_free_slot() -> None:
    seen = sight(a_node("a"), a_node("b", node_type="hub", capacity=1))
    placer = seen.placer(RoutingPolicy.LATE_BINDING)
    asked = replace(WORK, preferred_types=["hub"])
    assert places(await place(placer, asked, asked, WORK)) == ["b", "a", None]


async def test_a_degraded_node_is_asked_after_every_other() -> None:
    seen = sight(a_node("a", status=NodeStatus.DEGRADED), a_node("b", open_tasks=7, capacity=8))
    for policy in (RoutingPolicy.LEAST_LOADED, RoutingPolicy.ROUND_ROBIN, RoutingPolicy.CAPABILITY_BASED):
        assert places(await place(seen.placer(policy), *[WORK] * 3)) == ["b", "a", None]


async def test_nobody_with_a_free_slot_leaves_the_task_to_the_first_idle_node_and_says_so() -> None:
    seen = sight(a_node("a", "gpu", open_tasks=8, capacity=8), a_node("b"))
    (task,) = await place(seen.placer(RoutingPolicy.LEAST_LOADED), replace(WORK, requires=["gpu"]))
    assert task.placement is None
    decision = decision_of(task)
    assert (decision.chosen, decision.nodes, decision.candidates) == ("", 2, 0)
    assert decision.rejected == {"gpu": 1, "full": 1}


async def test_the_nodes_are_looked_at_once_a_second_and_sooner_when_none_is_free() -> None:
    seen = sight(a_node("a", capacity=2))
    placer = seen.placer(RoutingPolicy.LEAST_LOADED)
    assert places(await place(placer, WORK, WORK, WORK)) == ["a", "a", None]
    assert seen.looks == 1
    seen.now += 1.5 * STALE_SECONDS
    assert places(await place(placer, WORK)) == ["a"]
    assert seen.looks == 2
    seen.now += FRESH_SECONDS
    await place(placer, WORK)
    assert seen.looks == 3


async def test_a_task_for_later_is_placed_whatever_its_node_holds_now() -> None:
    placer = sight(a_node("a", open_tasks=8, capacity=8)).placer(RoutingPolicy.LEAST_LOADED)
    assert places(await place(placer, replace(WORK, delay=timedelta(hours=1)))) == ["a"]


async def test_the_way_of_one_task_wins_over_the_setting() -> None:
    placer = sight(a_node("a", "x"), a_node("b", open_tasks=1)).placer(RoutingPolicy.LEAST_LOADED)
    by_fit, by_nobody = replace(WORK, routing="capability_based"), replace(WORK, routing="late_binding")
    assert places(await place(placer, WORK, by_fit, by_nobody)) == ["a", "b", None]
    with pytest.raises(InvalidArgumentError, match="routing 'best' is not one of late_binding, least_loaded"):
        await place(placer, replace(WORK, routing="best"))


async def test_a_pin_is_left_as_it_is() -> None:
    (task,) = await place(sight(a_node("a")).placer(RoutingPolicy.RANDOM), replace(WORK, node="b"))
    assert task.placement is not None
    assert (task.placement.node_id, task.placement.pinned, task.decision) == ("b", True, None)
    with pytest.raises(InvalidArgumentError, match="is excluded"):
        new_task(replace(WORK, node="b", not_on=["b"]), TaskDefaults())


async def test_a_decision_tells_every_term_of_the_best_and_fits_a_kibibyte() -> None:
    seen = sight(*(a_node(f"{'n' * 60}{number}", "gpu" * 20, labels={"zone": "eu"}) for number in range(40)))
    asked = replace(WORK, prefers=["zone=eu:2"], preferred_types=["hub"])
    (task,) = await place(seen.placer(RoutingPolicy.AFFINITY), asked)
    assert task.decision is not None
    assert len(task.decision) <= MAX_BYTES
    decision = decision_of(task)
    assert decision.top[0].node == decision.chosen == f"{'n' * 60}0"
    assert set(decision.top[0].terms) == set(decision.weights) == {"history", "load", "type", "preferences", "health"}
    mean = sum(decision.weights[term] * value for term, value in decision.top[0].terms.items())
    assert decision.top[0].score == pytest.approx(mean / sum(decision.weights.values()), abs=0.001)


async def test_a_refusal_names_the_nearest_node_and_what_it_lacks() -> None:
    placer = sight(a_node("a"), a_node("b", labels={"memory_gb": "32"})).placer(RoutingPolicy.LATE_BINDING)
    asked = new_task(replace(WORK, requires=["memory_gb>=64"]), TaskDefaults())
    with pytest.raises(NoCandidateError, match=r"no live node holds memory_gb>=64, work; nearest is a: .*not there"):
        await placer.check_served([asked])
    with pytest.raises(NoCandidateError, match="node 'z' is not among the live nodes"):
        await placer.check_served([new_task(replace(WORK, node="z"), TaskDefaults())])
    await placer.check_served([new_task(replace(WORK, node="b", requires=["memory_gb>=32"]), TaskDefaults())])
