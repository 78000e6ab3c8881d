"""Probes go where a node's agents talk most, and the ring keeps everybody connected."""

import asyncio
from collections.abc import Sequence
from random import Random

from meshd.backends import Backend
from meshd.nodes.model import Agent, Node, NodeProfile, NodeStatus, Verdict, Vitals
from meshd.nodes.neighbours import fingers
from meshd.nodes.probe_model import Joined, Members, Neighbours, Peer, ProbeOptions, Send, Tick
from meshd.nodes.probing import Probing
from meshd.runtime.surroundings import Surroundings
from meshd.topology.model import Edge, EdgeRules
from meshd.topology.recorded import Out, encode_out, out_key


def a_node(name: str, *agents: str) -> Node:
    profile = NodeProfile(id=name, agents=tuple(Agent(id=agent, name=agent) for agent in agents))
    return Node(
        profile=profile,
        incarnation=1,
        verdict=Verdict.ALIVE,
        vitals=Vitals(status=NodeStatus.ACTIVE, open_tasks=0),
        joined_ms=0,
        beat_ms=0,
        read_ms=0,
    )


NODES = [a_node("n1", "ada", "bob"), *(a_node(f"n{number}", f"agent{number}") for number in range(2, 7))]


async def keep_edges(backend: Backend, agent: str, **weights: float) -> None:
    edges = [
        Edge(source=agent, target=target, weight=weight, touched_ms=10**14, used_ms=10**14)
        for target, weight in weights.items()
    ]
    await backend.records.put(out_key(agent), encode_out(Out(agent=agent, home="n1", edges=edges)))


async def test_without_a_topology_nobody_is_named(backend: Backend) -> None:
    around = Surroundings("n1", EdgeRules(), count=4)
    around.meet(NODES)
    assert await around.look(backend.records) == ()
    assert around.weights == {}


async def test_the_thickest_edges_of_all_agents_here_name_the_nodes(backend: Backend) -> None:
    await keep_edges(backend, "ada", agent2=0.3, agent3=0.9, gone=1.0, bob=1.0)
    await keep_edges(backend, "bob", agent2=0.7, agent4=0.5, agent5=0.05)
    await keep_edges(backend, "agent2", agent6=1.0)
    around = Surroundings("n1", EdgeRules(), count=2)
    around.meet(NODES)
    assert await around.look(backend.records) == ("n3", "n2")
    assert around.weights == {"n2": 0.7, "n3": 0.9, "n4": 0.5}


async def test_what_is_kept_is_told_once_members_are_known(backend: Backend) -> None:
    await keep_edges(backend, "ada", agent6=0.9)
    told: list[Sequence[str]] = []
    heard = asyncio.Event()

    def tell(nodes: Sequence[str]) -> None:
        told.append(nodes)
        heard.set()

    around = Surroundings("n1", EdgeRules(), count=4)
    keeping = asyncio.create_task(around.keep(backend.records, tell, Random(1)))
    around.meet(NODES)
    async with asyncio.timeout(10):
        await heard.wait()
    keeping.cancel()
    assert told == [("n6",)]


def test_half_the_probes_go_by_weight_and_the_ring_fills_the_rest() -> None:
    names = [f"n{number:03}" for number in range(100)]
    prober = Probing("n000", ProbeOptions(neighbours=8), Random(3))
    prober.step(Joined(1), 0.0)
    prober.step(Members({name: Peer(f"{name}:1", 1) for name in names}), 0.0)
    prober.step(Neighbours(["n050", "n051", "n052", "n053"]), 0.0)
    chosen = sorted(_pinged(prober))
    ring = fingers("n000", set(names) - {"n000"}, count=8)
    assert {"n050", "n051", "n052", "n053"} <= set(chosen)
    assert set(ring[:2]) <= set(chosen), "who is next on the ring, so that all stay connected"
    assert len(chosen) == 9, "and one by chance"


def _pinged(prober: Probing) -> set[str]:
    sent = prober.step(Tick(), 10_000.0)
    return {action.address.partition(":")[0] for action in sent if isinstance(action, Send)}
