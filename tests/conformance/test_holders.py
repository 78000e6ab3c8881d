"""Finding who can do something: nodes and agents by sets of capabilities."""

import random

from meshd.backends import Backend
from meshd.nodes.model import Agent, Holder, NodeFilter
from tests.support.builders import a_profile, vitals


def an_agent(agent_id: str, *capabilities: str) -> Agent:
    return Agent(
        id=agent_id,
        name=f"agent {agent_id}",
        role="reasoner",
        capabilities=frozenset(capabilities),
        specializations=("slow", "fast"),
    )


async def holders(backend: Backend, *capabilities: str) -> list[Holder]:
    return list(await backend.nodes.holders(frozenset(capabilities)))


async def test_a_node_and_its_agent_are_holders_each_of_what_it_has(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["gpu"], agents=[an_agent("a1", "german")]), vitals())
    assert await holders(backend, "gpu") == [Holder(node_id="n1")]
    assert await holders(backend, "german") == [Holder(node_id="n1"), Holder(node_id="n1", agent_id="a1")]


async def test_a_set_is_held_only_by_those_who_hold_all_of_it(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["a", "b"]), vitals())
    await backend.nodes.join(a_profile("n2", capabilities=["b"]), vitals())
    await backend.nodes.join(a_profile("n3", agents=[an_agent("x", "a"), an_agent("y", "b")]), vitals())
    await backend.nodes.join(a_profile("n4", agents=[an_agent("z", "a", "b", "c")]), vitals())
    assert await holders(backend, "a", "b") == [
        Holder(node_id="n1"),
        Holder(node_id="n3"),
        Holder(node_id="n4"),
        Holder(node_id="n4", agent_id="z"),
    ]


async def test_a_node_holds_the_task_types_it_handles(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1", types=["text.analyze"], capabilities=["gpu"]), vitals())
    assert await holders(backend, "text.analyze", "gpu") == [Holder(node_id="n1")]


async def test_nobody_holds_what_nobody_declared(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["gpu"]), vitals())
    assert await holders(backend, "telescope") == []
    assert await holders(backend, "gpu", "telescope") == []


async def test_a_capability_that_begins_like_another_is_another(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["text.analyze"]), vitals())
    assert await holders(backend, "text") == []
    assert await holders(backend, "text.analyze.deep") == []


async def test_an_agent_that_changes_its_capabilities_is_found_by_the_new_ones(backend: Backend) -> None:
    membership = await backend.nodes.join(a_profile("n1", agents=[an_agent("a1", "old")]), vitals())
    await backend.nodes.announce(membership, a_profile("n1", agents=[an_agent("a1", "new"), an_agent("a2", "new")]))
    assert await holders(backend, "old") == []
    assert [holder.agent_id for holder in await holders(backend, "new")] == ["", "a1", "a2"]


async def test_holders_of_a_node_that_left_are_gone(backend: Backend) -> None:
    membership = await backend.nodes.join(a_profile("n1", agents=[an_agent("a1", "gpu")]), vitals())
    await backend.nodes.leave(membership)
    assert await holders(backend, "gpu") == []


async def test_agents_are_read_back_as_declared(backend: Backend) -> None:
    agents = [an_agent("a1", "x", "y"), an_agent("a2")]
    profile = a_profile("n1", agents=agents)
    await backend.nodes.join(profile, vitals())
    node = await backend.nodes.get("n1")
    assert node is not None
    assert node.profile == profile


async def test_among_many_nodes_holders_are_exactly_those_of_a_plain_search(backend: Backend) -> None:
    rng = random.Random(7)
    pool = [f"c{number}" for number in range(12)]
    profiles = [
        a_profile(
            f"n{number:03}",
            capabilities=rng.sample(pool, 3),
            agents=[an_agent(f"a{n}", *rng.sample(pool, 2)) for n in range(2)],
        )
        for number in range(60)
    ]
    for profile in profiles:
        await backend.nodes.join(profile, vitals())
    for _ in range(20):
        wanted = frozenset(rng.sample(pool, 2))
        expected = [Holder(node_id=one.id) for one in profiles if wanted <= one.all_capabilities]
        expected += [
            Holder(node_id=one.id, agent_id=agent.id)
            for one in profiles
            for agent in one.agents
            if wanted <= agent.capabilities
        ]
        assert list(await backend.nodes.holders(wanted)) == sorted(expected)
        found = await backend.nodes.list(NodeFilter(capabilities=wanted))
        assert [node.id for node in found] == [one.id for one in profiles if wanted <= one.all_capabilities]
