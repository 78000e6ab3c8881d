"""How a task is divided, placed and merged: every rule, and every refusal."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError, NoCandidateError
from meshd.ids import TAIL, tail_of
from meshd.nodes.model import Node, NodeProfile, NodeStatus, Verdict, Vitals
from meshd.tasks.composing import Part, is_open, named, parts_of
from meshd.tasks.fan_out import (
    MERGE_TASK,
    FanOut,
    PartView,
    check_fan_out,
    labelled,
    merged,
    most_parts,
    payloads_of,
    why_none,
)
from meshd.tasks.model import NewTask, TaskState
from meshd.tasks.parents import with_parents
from meshd.tasks.placement import MAX_DEALT, SPREAD_HOLD_BACK_MS, PlacementSettings, Placer, kept_apart
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task
from meshd.tasks.routing import requirements_of
from meshd.tasks.voting import VOTE_TASK, Vote
from meshd.votes.model import Quorum

TWO = FanOut(parts=[{"text": "a"}, {"text": "b"}])


def made(*requests: TaskRequest) -> tuple[list[Part], list[NewTask]]:
    parts = parts_of(requests)
    plain = [part.request for part in parts]
    return parts, named(parts, with_parents(plain, [new_task(request, TaskDefaults()) for request in plain]))


def ended(*results: Any, lost: Sequence[int] = (), nodes: str = "abcdefgh") -> list[PartView]:
    """Parts that completed with these results, but for the lost ones."""
    return [
        PartView(name=str(at), task_id=f"t{at}", state=TaskState.DEAD, node_id=nodes[at], error="no idea")
        if at in lost
        else PartView(name=str(at), task_id=f"t{at}", state=TaskState.COMPLETED, node_id=nodes[at], result=result)
        for at, result in enumerate(results)
    ]


def test_each_part_is_a_task_and_the_caller_holds_their_merge() -> None:
    parts, tasks = made(TaskRequest(type="count", payload={"fast": True}, requires=["python"], fan_out=TWO))
    *runs, merge = tasks
    assert [run.payload for run in runs] == [b'{"fast":true,"text":"a"}', b'{"fast":true,"text":"b"}']
    assert {run.route for run in runs} == {"count+python"}
    assert (merge.type, merge.route, merge.runs_anyway) == (MERGE_TASK, MERGE_TASK, True)
    assert merge.depends_on == tuple(run.id for run in runs)
    assert [part.name for part in parts] == ["part 0", "part 1", ""]
    first, second, last = (part.siblings for part in parts)
    assert (first is second, last) == (True, None)


def test_parts_of_two_tasks_are_told_apart_though_they_say_the_same() -> None:
    request = TaskRequest(type="count", fan_out=TWO)
    siblings = [part.siblings for part in parts_of([request, replace(request)])]
    assert siblings[0] is siblings[1] is not siblings[3]
    assert siblings[3] is siblings[4]
    assert len({siblings[0], siblings[3]}) == 2


def test_a_vote_comes_before_all_parts() -> None:
    vote, *runs, merge = made(TaskRequest(type="count", requires=Vote(), fan_out=TWO))[1]
    assert vote.type == VOTE_TASK
    assert {run.depends_on for run in runs} == {(vote.id,)}
    assert merge.depends_on == tuple(run.id for run in runs)


def test_a_repeat_with_the_same_key_names_the_same_parts() -> None:
    request = TaskRequest(type="count", fan_out=TWO, idempotency_key="night")
    first, second = made(request)[1], made(request)[1]
    assert [task.id for task in first[:-1]] == [task.id for task in second[:-1]]
    assert [task.idempotency_key for task in first] == [None, None, "night"]
    assert {task.id[-TAIL:] for task in first} == {tail_of("night")}


def test_a_merging_handler_says_where_the_merge_runs() -> None:
    merge = made(TaskRequest(type="count", fan_out=replace(TWO, merge="task:largest")))[1][-1]
    assert merge.route == f"{MERGE_TASK}+largest"


def test_what_is_left_open_is_counted_by_the_nodes_there_are() -> None:
    request = TaskRequest(type="count", fan_out=FanOut())
    assert is_open(request)
    assert not is_open(replace(request, fan_out=TWO))
    assert len(parts_of([request], counts={id(request): 3})) == 4
    with pytest.raises(InvalidArgumentError, match="says how many"):
        is_open(replace(request, idempotency_key="k"))
    with pytest.raises(InvalidArgumentError, match="has no part"):
        parts_of([request])


def test_part_arguments_go_over_common_ones() -> None:
    fan = FanOut(parts={"eu": {"zone": "eu"}, "us": {}})
    assert payloads_of(fan, {"zone": "any", "n": 1}, limit=5) == {
        "eu": {"zone": "eu", "n": 1},
        "us": {"zone": "any", "n": 1},
    }
    assert payloads_of(FanOut(copies=2), {"n": 1}, limit=5) == {"0": {"n": 1}, "1": {"n": 1}}


@pytest.mark.parametrize(
    ("fan", "told"),
    [
        (FanOut(copies=6), r"6 parts are more than the 5 nodes that may work on one task.*groups.max_size"),
        (FanOut(copies=3, max_nodes=2), "3 parts are more than the 2 nodes.*raise max_nodes"),
        (FanOut(copies=1, max_nodes=6), "max_nodes 6 is not 1 to 5"),
        (FanOut(copies=1, parts=[{}]), "give one of them"),
        (FanOut(copies=-1), "copies=-1"),
        (FanOut(copies=1, merge="mean"), "merge 'mean'"),
        (FanOut(copies=1, merge="task:"), "merging task type"),
        (FanOut(copies=1, distinct="maybe"), "distinct 'maybe'"),
        (FanOut(copies=1, on_failure="cry"), "on_failure 'cry'"),
        (FanOut(parts={"e u": {}}), "part 'e u'"),
    ],
)
def test_what_cannot_be_divided_so_is_refused(fan: FanOut, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        parts_of([TaskRequest(type="count", fan_out=fan)])


@pytest.mark.parametrize(
    "request_",
    [
        TaskRequest(type="t", fan_out=TWO, verify=Quorum(2)),
        TaskRequest(type="t", fan_out=TWO, copies=2),
        TaskRequest(type="t", fan_out=TWO, node="a"),
    ],
)
def test_a_divided_task_is_for_several_nodes_and_is_not_verified(request_: TaskRequest) -> None:
    with pytest.raises(InvalidArgumentError):
        parts_of([request_])


def test_the_limit_is_the_meshs_unless_the_task_has_a_smaller_one() -> None:
    assert [most_parts(FanOut(max_nodes=most), limit=5) for most in (0, 1, 5)] == [5, 1, 5]
    assert check_fan_out(TWO) is TWO


@pytest.mark.parametrize(
    ("how", "results", "lost", "value"),
    [
        ("list", [1, None, 3], (), [1, None, 3]),
        ("list", [1, 2, 3], (1,), [1, None, 3]),
        ("dict", [1, 2, 3], (1,), {"0": 1, "2": 3}),
        ("sum", [1, 2.5], (), 3.5),
        ("sum", [[1], [2, 3], []], (), [1, 2, 3]),
        ("sum", [{"a": 1}, {"b": 2, "a": 1}, {}], (), {"a": 2, "b": 2}),
        ("sum", [{"n": 1, "by": {"x": [1]}}, {"n": 1, "by": {"x": [2]}}], (), {"n": 2, "by": {"x": [1, 2]}}),
        ("sum", [1, 2, 4], (0,), 6),
        ("task:any", [1, 2], (0,), [None, 2]),
    ],
)
def test_results_are_merged(how: str, results: list[Any], lost: tuple[int, ...], value: Any) -> None:
    assert merged(ended(*results, lost=lost), merge=how) == value


@pytest.mark.parametrize("results", [[1, "a"], [True, True], [None, 1], [{"a": 1}, {"a": "x"}], [[1], 1]])
def test_what_cannot_be_added_says_which_part_it_is(results: list[Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"part 1(\.a)? has .* to be added to"):
        merged(ended(*results), merge="sum")


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers()), min_size=1, max_size=5))
def test_counts_add_up_in_any_order(counts: list[dict[str, int]]) -> None:
    assert merged(ended(*counts), merge="sum") == merged(ended(*reversed(counts)), merge="sum")


def test_a_lost_part_is_the_end_or_is_missing_as_was_asked() -> None:
    parts = ended(1, 2, 3, lost=[1])
    assert why_none(parts, on_failure="fail", distinct="no") == (
        "1 of 3 parts did not complete: part 1 is dead on b: no idea"
    )
    assert why_none(parts, on_failure="partial", distinct="no") == ""
    assert labelled(4, parts, on_failure="partial") == {
        "value": 4,
        "is_partial": True,
        "missing": [{"part": "1", "task": "t1", "node": "b", "error": "no idea"}],
    }
    whole = ended(1, 2)
    assert labelled(3, whole, on_failure="partial") == {"value": 3, "is_partial": False, "missing": []}
    assert labelled(3, whole, on_failure="fail") == 3
    none = ended(1, 2, lost=[0, 1])
    assert why_none(none, on_failure="partial", distinct="no").startswith("2 of 2 parts")
    assert "forgotten" in why_none([PartView(name="0", task_id="t")], on_failure="fail", distinct="no")


def test_two_parts_of_one_node_are_no_result_where_they_must_be_apart() -> None:
    parts = ended(1, 2, 3, nodes="aba")
    assert why_none(parts, on_failure="fail", distinct="prefer") == ""
    assert why_none(parts, on_failure="fail", distinct="require").endswith("ran on the same: a")


def a_node(name: str, *, slots: int = 4, held: int = 0, capabilities: Sequence[str] = ()) -> Node:
    profile = NodeProfile(id=name, capacity=slots, task_types=frozenset({"work"}), capabilities=frozenset(capabilities))
    vitals = Vitals(status=NodeStatus.ACTIVE, open_tasks=held)
    return Node(profile=profile, vitals=vitals, incarnation=1, verdict=Verdict.ALIVE, joined_ms=0, beat_ms=0, read_ms=0)


def placer_of(*nodes: Node) -> Placer:
    async def look(*, include_dead: bool = False) -> Sequence[Node]:
        del include_dead
        return nodes

    return Placer(look, PlacementSettings())


async def spread(placer: Placer, count: int, *, is_strict: bool = False, **more: Any) -> list[NewTask]:
    request = TaskRequest(type="work", **more)
    tasks = [new_task(request, TaskDefaults()) for _ in range(count)]
    return await placer.spread(tasks, routing=None, is_strict=is_strict, must_fit=True)


def nodes_of(tasks: Sequence[NewTask]) -> list[str]:
    return [task.placement.node_id if task.placement else "" for task in tasks]


async def test_parts_are_placed_on_different_nodes_and_then_anew() -> None:
    placed = await spread(placer_of(a_node("a"), a_node("b"), a_node("c")), 5)
    assert sorted(nodes_of(placed)[:3]) == ["a", "b", "c"]
    assert len(set(nodes_of(placed)[3:])) == 2
    assert all(task.placement and task.placement.hold_back_ms == SPREAD_HOLD_BACK_MS for task in placed)
    assert {task.route for task in placed} == {"work"}


async def test_a_full_node_is_chosen_last_and_before_a_second_part() -> None:
    nodes = [a_node("a", slots=1, held=1), a_node("b"), a_node("c")]
    assert nodes_of(await spread(placer_of(*nodes), 3))[-1] == "a"


async def test_a_node_that_cannot_is_given_none() -> None:
    placed = await spread(placer_of(a_node("a"), a_node("b", capabilities=["gpu"])), 2, requires=["gpu"])
    assert nodes_of(placed) == ["b", "b"]


async def test_strict_parts_exclude_each_others_nodes_and_share_the_rest() -> None:
    placed = await spread(placer_of(*map(a_node, "abcdefg")), 3, is_strict=True, deadline=timedelta(seconds=9))
    excluded = [{term[1:] for term in requirements_of(task.route)[1]} for task in placed]
    allowed = [set("abcdefg") - names for names in excluded]
    assert [own in names for own, names in zip(nodes_of(placed), allowed, strict=True)] == [True] * 3
    assert sorted(name for names in allowed for name in names) == list("abcdefg")
    assert {len(names) for names in allowed} == {2, 3}


async def test_strict_parts_without_enough_nodes_are_refused_and_name_those_there_are() -> None:
    with pytest.raises(NoCandidateError, match=r"3 parts need as many different nodes.*: a, b$"):
        await spread(placer_of(a_node("a"), a_node("b")), 3, is_strict=True)


def test_a_large_mesh_makes_no_long_routes() -> None:
    tasks = [new_task(TaskRequest(type="work"), TaskDefaults()) for _ in range(5)]
    apart = kept_apart(tasks, [f"n{number}" for number in range(1_000)])
    assert all(len(requirements_of(task.route)[1]) <= MAX_DEALT for task in apart)
