"""After skewed traffic, placement prefers the strong edges: where they are known, and never against load."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from meshd import Mesh
from meshd.nodes.model import Agent, Node, NodeProfile, NodeStatus, Verdict, Vitals
from meshd.settings import Settings
from meshd.tasks.decision import decode_decision
from meshd.tasks.placement import PlacementSettings, Placer
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task
from meshd.tasks.scoring import RoutingPolicy
from meshd.topology.keeping import TopologyManager, members_of
from meshd.topology.model import Edge
from meshd.topology.recorded import Out, encode_out, out_key
from meshd.topology.usage import Usage

NODES = ("n1", "n2", "n3")


def a_node(name: str, *, open_tasks: int = 0) -> Node:
    return Node(
        profile=NodeProfile(id=name, task_types=frozenset({"work"}), capacity=10, agents=(Agent(id=name, name=name),)),
        incarnation=1,
        verdict=Verdict.ALIVE,
        vitals=Vitals(status=NodeStatus.ACTIVE, open_tasks=open_tasks),
        joined_ms=0,
        beat_ms=0,
        read_ms=0,
    )


async def chosen(
    policy: RoutingPolicy, nearness: Mapping[str, float], *, nodes: Sequence[Node] | None = None, count: int = 1
) -> Counter[str]:
    async def look(*, include_dead: bool = False) -> Sequence[Node]:
        del include_dead
        return nodes or [a_node(name) for name in NODES]

    async def near() -> Mapping[str, float]:
        return nearness

    placer = Placer(look, PlacementSettings(policy=policy), nearness=near)
    requests = [TaskRequest(type="work", preferred_types=("general",)) for _ in range(count)]
    tasks = await placer.place(requests, [new_task(request, TaskDefaults()) for request in requests])
    return Counter(task.placement.node_id for task in tasks if task.placement is not None)


@pytest.mark.parametrize("policy", [RoutingPolicy.LATE_BINDING, RoutingPolicy.AFFINITY])
async def test_of_equal_nodes_the_one_with_the_strong_edge_is_chosen(policy: RoutingPolicy) -> None:
    assert await chosen(policy, {}) == {"n1": 1}
    assert await chosen(policy, {"n2": 0.2, "n3": 0.9}) == {"n3": 1}


@pytest.mark.parametrize("policy", [RoutingPolicy.LEAST_LOADED, RoutingPolicy.CAPABILITY_BASED])
async def test_a_policy_of_one_thing_counts_only_that(policy: RoutingPolicy) -> None:
    assert await chosen(policy, {"n3": 1.0}) == {"n1": 1}


async def test_a_strong_edge_does_not_outweigh_load() -> None:
    nodes = [a_node("n1"), a_node("n2"), replace(a_node("n3"), vitals=Vitals(status=NodeStatus.ACTIVE, open_tasks=9))]
    assert await chosen(RoutingPolicy.LATE_BINDING, {"n3": 0.9}, nodes=nodes) == {"n1": 1}


async def test_a_burst_is_spread_once_the_near_node_has_more_to_do() -> None:
    found = await chosen(RoutingPolicy.LATE_BINDING, {"n3": 0.9}, count=20)
    assert found["n3"] > found["n1"] > 0
    assert found["n3"] > found["n2"] > 0


async def test_after_skewed_traffic_tasks_go_where_the_messages_went(tmp_path: Path) -> None:
    values = {
        "node_name": "desk",
        "task_distribution": {"algorithm": "affinity"},
        "state_dir": str(tmp_path),
        "topology": {"decay_rate": 0},
    }
    async with Mesh(f"sqlite:///{tmp_path / 'mesh.db'}", settings=Settings.model_validate(values)) as mesh:
        for name in ("desk", *NODES):
            types = frozenset({"work"}) if name != "desk" else frozenset[str]()
            await mesh.backend.nodes.join(
                replace(a_node(name).profile, task_types=types), Vitals(status=NodeStatus.ACTIVE)
            )

        async def members() -> Mapping[str, str]:
            return members_of(await mesh.backend.nodes.list())

        manager = TopologyManager(mesh.records, mesh.events, members, mesh.settings.topology.options())
        usage = Usage(mesh.events, by="desk")
        await manager.run_once()
        for other, count in (("n1", 0), ("n2", 4), ("n3", 1)):
            usage.used("desk", other, count=count)
        await usage.flush()
        await manager.run_once()
        assert await mesh.topology.nearness("desk") == {"n1": 0.5, "n2": 0.9, "n3": 0.6}
        task = await (await mesh.tasks.submit("work")).status()
        decision = decode_decision(task.decision or b"")
        assert decision is not None
        assert decision.chosen == "n2"
        assert decision.weights["nearness"] > 0


async def test_what_is_near_does_not_depend_on_the_records_of_other_nodes(tmp_path: Path) -> None:
    async with Mesh(f"sqlite:///{tmp_path / 'mesh.db'}", settings=Settings(state_dir=str(tmp_path))) as mesh:
        for name in ("desk", "n1"):
            await mesh.backend.nodes.join(a_node(name).profile, Vitals(status=NodeStatus.ACTIVE))
        now_ms = int(time.time() * 1_000)
        edge = Edge(source="desk", target="n1", weight=0.5, created_ms=now_ms, touched_ms=now_ms)
        gone = replace(edge, target="left")
        await mesh.records.put(out_key("desk"), encode_out(Out(agent="desk", home="desk", edges=(edge, gone))))
        await mesh.records.put(out_key("n1"), b"damaged")
        assert await mesh.topology.nearness("desk") == {"n1": pytest.approx(0.5, abs=0.01)}
        assert await mesh.topology.nearness("n2") == {}


async def test_a_damaged_topology_keeps_no_task_from_being_submitted(tmp_path: Path) -> None:
    values = {"node_name": "desk", "task_distribution": {"algorithm": "affinity"}, "state_dir": str(tmp_path)}
    async with Mesh(f"sqlite:///{tmp_path / 'mesh.db'}", settings=Settings.model_validate(values)) as mesh:
        await mesh.backend.nodes.join(a_node("n1").profile, Vitals(status=NodeStatus.ACTIVE))
        await mesh.records.put(out_key("desk"), b"[]")
        assert (await (await mesh.tasks.submit("work")).status()).decision
