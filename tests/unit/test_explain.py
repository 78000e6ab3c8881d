"""An explanation names the exact predicate that fails, for every state a task can be in."""

from dataclasses import replace
from typing import Any

import pytest

from meshd.errors import NotFoundError
from meshd.nodes.model import Level, Node, NodeProfile, NodeStatus, Verdict, Vitals
from meshd.tasks.decision import Choice, Decision, encode_decision
from meshd.tasks.explain import Explanation, explanation_of, why_not
from meshd.tasks.model import NewTask, Pauses, Placement, Task
from meshd.tasks.obstacles import ObstacleKind
from meshd.tasks.routing import route_of
from meshd.tasks.states import Cancel, Claim, Complete, Reclaim, Start, apply, create

NOW_MS = 1_800_000_000_000
NOBODY_PAUSED = Pauses()


def a_task(*requires: str, **fields: Any) -> Task:
    new = NewTask(id="t1", type="work", payload=b"{}", route=route_of("work", requires), **fields)
    return create(new, now_ms=NOW_MS)


def a_node(
    node_id: str = "n1",
    *capabilities: str,
    verdict: Verdict = Verdict.ALIVE,
    open_tasks: int = 0,
    status: NodeStatus = NodeStatus.ACTIVE,
    drain: bool = False,
    types: frozenset[str] = frozenset({"work"}),
    levels: dict[str, Level] | None = None,
    labels: dict[str, str] | None = None,
) -> Node:
    return Node(
        profile=NodeProfile(
            id=node_id,
            capabilities=frozenset(capabilities),
            task_types=types,
            capacity=2,
            levels=levels or {},
            labels=labels or {},
        ),
        incarnation=1,
        verdict=verdict,
        vitals=Vitals(status=status, open_tasks=open_tasks),
        joined_ms=0,
        beat_ms=NOW_MS - 7_000,
        read_ms=NOW_MS,
        drain_requested=drain,
    )


def explain(task: Task, *nodes: Node, pauses: Pauses = NOBODY_PAUSED) -> Explanation:
    return explanation_of(task, nodes=nodes, pauses=pauses, doubt_ms=10_000)


def decided(chosen: str, policy: str = "least_loaded") -> bytes:
    top = (
        Choice(node="n1", score=1.0, terms={"load": 1.0, "health": 1.0}),
        Choice(node="n2", score=0.75, terms={"load": 0.5, "health": 1.0}),
    )
    weights = {"load": 1.0, "health": 2.0}
    return encode_decision(
        Decision(policy=policy, weights=weights, chosen=chosen, hold_back_ms=1_000, nodes=2, candidates=2, top=top)
    )


@pytest.mark.parametrize(
    ("task", "node", "kind", "detail"),
    [
        (a_task(), a_node(verdict=Verdict.DEAD), "dead", "judged dead"),
        (a_task(), a_node(verdict=Verdict.SUSPECT), "silent", "no sign of life for 7.0 s"),
        (a_task(), a_node(drain=True), "draining", "was asked to drain"),
        (a_task(), a_node(status=NodeStatus.SHUTTING_DOWN), "shutting_down", "finishes what it has and leaves"),
        (a_task(), a_node(status=NodeStatus.INITIALIZING), "initializing", "still prepares its handlers"),
        (a_task(), a_node(types=frozenset({"other"})), "no_handler", "no handler for work"),
        (a_task("gpu"), a_node(), "unmet", "gpu: not there"),
        (a_task("memory_gb>=64"), a_node(labels={"memory_gb": "32"}), "unmet", "memory_gb>=64: has 32"),
        (a_task("zone=eu"), a_node(labels={"zone": "us"}), "unmet", "zone=eu: has us"),
        (
            a_task("vision>=advanced"),
            a_node("n1", "vision", levels={"vision": Level.INTERMEDIATE}),
            "unmet",
            "vision>=advanced: has intermediate",
        ),
        (a_task("vision>=advanced"), a_node("n1", "vision"), "unmet", "vision>=advanced: has no level"),
        (a_task("!n1"), a_node(), "excluded", "the task excludes this node"),
        (a_task(), a_node(open_tasks=2), "full", "2 of 2 slots taken"),
        (
            a_task(),
            a_node(open_tasks=1, status=NodeStatus.DEGRADED),
            "full",
            "degraded, so it holds one at a time: 1 of 1 slots taken",
        ),
        (a_task(placement=Placement(node_id="n9", pinned=True)), a_node(), "meant_for_another", "pinned to n9"),
        (
            a_task(placement=Placement(node_id="n9"), decision=decided("n9")),
            a_node(),
            "meant_for_another",
            "meant for n9 until 2027-01-15T08:00:01.000+00:00",
        ),
    ],
)
def test_each_predicate_that_fails_is_named(task: Task, node: Node, kind: str, detail: str) -> None:
    (view,) = explain(task, node).nodes
    assert [(obstacle.kind.value, obstacle.detail) for obstacle in view.obstacles] == [(kind, detail)]
    assert detail in why_not(explain(task, node), "n1").reasons


def test_pauses_are_named() -> None:
    mesh, one_type = Pauses(mesh=True), Pauses(task_types=frozenset({"work"}))
    for pauses, detail in ((mesh, "the whole mesh is paused"), (one_type, "tasks of type work are paused")):
        told = explain(a_task(), a_node(), pauses=pauses)
        assert [obstacle.detail for obstacle in told.nodes[0].obstacles] == [detail]
        assert told.summary.startswith("ready, but ")
        assert told.unblock[0].startswith("resuming ")


def running(task: Task, node_id: str = "n1") -> Task:
    claim = Claim(node_id=node_id, incarnation=1, token=task.token + 1, lease_until_ms=NOW_MS + 1)
    claimed = apply(task, claim)
    return apply(claimed, Start(token=claimed.token, now_ms=NOW_MS))


def test_a_suspect_waits_for_a_node_that_holds_nothing() -> None:
    suspect = apply(running(a_task()), Reclaim(now_ms=NOW_MS))
    told = explain(suspect, a_node(open_tasks=1))
    assert [obstacle.kind for obstacle in told.nodes[0].obstacles] == [ObstacleKind.RUNS_ALONE]
    assert told.unblock == ("n1 having nothing else to do",)
    assert explain(suspect, a_node()).nodes[0].obstacles == ()


def test_a_task_nobody_can_run_names_the_nearest_node_and_what_it_lacks() -> None:
    told = explain(a_task("gpu", "memory_gb>=64"), a_node("n1"), a_node("n2", "gpu", labels={"memory_gb": "32"}))
    assert told.summary == "ready, but no node here can run it"
    assert [view.node_id for view in told.nodes] == ["n2", "n1"]
    assert told.unblock == (
        "a node with a handler for work, gpu, memory_gb>=64",
        "nearest is n2, which lacks memory_gb>=64: has 32",
    )
    assert explain(a_task()).unblock == ("a node with a handler for work",)


def test_a_task_for_which_all_are_busy_names_the_slots_that_would_do() -> None:
    told = explain(a_task(), a_node("n1", open_tasks=2), a_node("n2", drain=True), a_node("n3", types=frozenset()))
    assert told.summary == "ready, but none of the nodes that could run it takes it now: 1 draining, 1 full"
    assert told.unblock == ("a free slot on n1", "resuming node n2")


def test_a_task_that_was_placed_tells_how_it_came_there() -> None:
    task = a_task(placement=Placement(node_id="n1"), decision=decided("n1"))
    assert explain(task, a_node()).summary == "ready, meant for n1 until 2027-01-15T08:00:01.000+00:00"
    at_work = running(task)
    told = explain(at_work, a_node(open_tasks=1), a_node("n2"))
    assert told.summary == "runs on n1 since 2027-01-15T08:00:00.000+00:00, chosen by least_loaded"
    assert told.nodes[0].holds_it
    assert why_not(told, "n2").reasons == (
        told.summary,
        "at the submit least_loaded chose n1: score 1 against 0.75; load 1 against 0.5",
    )
    assert why_not(told, "n1").reasons == (f"it has it: {told.summary}",)


def test_a_task_that_ended_elsewhere_than_chosen_says_so() -> None:
    task = replace(a_task(decision=decided("n1")), placed_on=None)
    ended = running(task, "n2")
    ended = apply(ended, Complete(token=ended.token, result=b"1", now_ms=NOW_MS))
    assert explain(ended).summary.endswith("though least_loaded chose n1 at the submit")


def test_a_task_left_to_the_first_idle_node_tells_who_took_it() -> None:
    assert explain(a_task(), a_node(), a_node("n2")).summary == "ready: the first of 2 nodes with a free slot takes it"
    told = explain(running(a_task()), a_node())
    assert told.summary.endswith(", the first idle node that could run it")
    assert told.decision is None


def test_a_task_for_later_names_its_time() -> None:
    told = explain(a_task(delay_ms=60_000), a_node())
    assert told.summary == "waits for its time, 2027-01-15T08:01:00.000+00:00"
    assert told.unblock == ("time: it is ready at 2027-01-15T08:01:00.000+00:00",)
    assert why_not(told, "n1").reasons == (told.summary,)


def test_a_pinned_task_looks_at_its_node_only() -> None:
    pinned = a_task(placement=Placement(node_id="n9", pinned=True))
    told = explain(pinned, a_node("n1"))
    assert (told.summary, told.unblock) == ("ready, pinned to n9, which is not here", ("node n9 joining",))
    busy = explain(pinned, a_node("n1"), a_node("n9", open_tasks=2))
    assert (busy.summary, busy.unblock) == ("ready, pinned to n9: 2 of 2 slots taken", ("a free slot on n9",))


def test_an_ended_task_waits_for_nothing() -> None:
    told = explain(apply(a_task(), Cancel(reason="wrong file", now_ms=NOW_MS)), a_node())
    assert (told.summary, told.unblock) == ("cancelled at 2027-01-15T08:00:00.000+00:00: wrong file", ())


def test_a_node_the_mesh_does_not_know_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="node 'n9' is not in this mesh"):
        why_not(explain(a_task(), a_node()), "n9")
