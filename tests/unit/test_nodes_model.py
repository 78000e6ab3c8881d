"""What a node's record says about itself."""

import pytest

from meshd.nodes.model import Agent, Node, NodeProfile, Verdict, Vitals


def a_node(*, open_tasks: int = 0, capacity: int = 4, read_ms: int = 0) -> Node:
    return Node(
        profile=NodeProfile(id="n1", capacity=capacity),
        incarnation=1,
        verdict=Verdict.ALIVE,
        vitals=Vitals(open_tasks=open_tasks),
        joined_ms=0,
        beat_ms=100,
        read_ms=read_ms,
    )


def test_all_capabilities_are_the_nodes_its_agents_and_its_task_types() -> None:
    agent = Agent(id="a1", name="a", capabilities=frozenset({"german"}))
    profile = NodeProfile(id="n1", capabilities=frozenset({"gpu"}), task_types=frozenset({"work"}), agents=(agent,))
    assert profile.all_capabilities == {"gpu", "work", "german"}


@pytest.mark.parametrize(("open_tasks", "capacity", "load"), [(0, 4, 0.0), (1, 4, 0.25), (9, 4, 1.0), (1, 0, 0.0)])
def test_load_is_the_taken_share_of_the_capacity(open_tasks: int, capacity: int, load: float) -> None:
    assert a_node(open_tasks=open_tasks, capacity=capacity).load == load


def test_the_error_rate_is_the_failed_share_of_ended_tasks() -> None:
    assert Vitals().error_rate == 0.0
    assert Vitals(tasks_completed=3, tasks_failed=1).error_rate == 0.25


def test_the_age_of_a_beat_is_never_negative() -> None:
    assert a_node(read_ms=350).beat_age_ms == 250
    assert a_node(read_ms=50).beat_age_ms == 0
