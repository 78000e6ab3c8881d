"""Row I10: everything the mesh knows is there again after its Redis was killed and started anew."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from meshd import Mesh, Reject, TaskState
from meshd.nodes.model import Agent
from meshd.tasks.voting import Vote
from meshd.votes.model import ProposalState
from tests.faults.scene import SOON, Ledger, a_worker, settings
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

AGENTS = ("ada", "bob", "cyd")


async def make_everything(mesh: Mesh, server: RedisServer) -> list[str]:
    """Leave something of each kind in the mesh; return the ids of the tasks, one of each state."""
    node = a_worker("n1", Ledger())
    for agent in AGENTS:
        node.add_agent(Agent(id=agent, name=agent))

    @node.task("refuse")
    async def refuse() -> None:
        raise Reject("not this one")

    async with node.running(server.url, settings=settings()):
        done = await mesh.tasks.submit("work", number=7)
        dead = await mesh.tasks.submit("refuse")
        assert await done.result(timeout=SOON) == 7
        await dead.wait(timeout=SOON)
        open_ = await mesh.votes.propose("shall we?", id="open", timeout=timedelta(hours=1))
        assert {elector.id for elector in open_.electorate} >= set(AGENTS)
        await mesh.votes.vote("open", "ada", "yes", reason="it is time")
        await mesh.votes.propose("done?", id="decided", electorate=AGENTS)
        for voter in AGENTS[:2]:
            await mesh.votes.vote("decided", voter, "yes")

        async def are_joined() -> bool:
            return set(AGENTS) <= set((await mesh.topology.graph()).agents)

        await wait_until(are_joined, timeout=20)
    later = await mesh.tasks.submit("work", number=8, delay=timedelta(hours=1))
    after = await mesh.tasks.submit("work", number=9, depends_on=[later])
    voted = await mesh.tasks.submit("work", number=10, requires=Vote(electorate=AGENTS))
    await mesh.memory.put("plan", {"step": 1})
    await mesh.memory.put("plan", {"step": 2}, note="on we go")
    await mesh.messages.send("ada", "task", {"order": 5}, id="order-5")
    return [done.id, dead.id, later.id, after.id, voted.id]


async def everything(mesh: Mesh, tasks: list[str]) -> Mapping[str, Any]:
    """Return what the mesh says of all that was made."""
    plan = await mesh.memory.get("plan")
    assert plan is not None
    graph = await mesh.topology.graph()
    return {
        "tasks": [await mesh.tasks.get(task_id) for task_id in tasks],
        "dead": [task.id for task in (await mesh.tasks.list(states=[TaskState.DEAD])).tasks],
        "memory": (plan.value, plan.winner.name, plan.winner.note),
        "proposals": {each.id: each for each in await mesh.votes.list()},
        "edges": {(edge.source, edge.target): (edge.usage, edge.created_ms) for edge in graph.edges},
        "homes": dict(graph.homes),
        "waiting": await mesh.messages.waiting("ada"),
    }


async def test_tasks_memory_topology_proposals_messages_and_dead_letters_survive_a_kill_of_redis(
    server: RedisServer, mesh: Mesh
) -> None:
    tasks = await make_everything(mesh, server)
    before = await everything(mesh, tasks)
    server.kill()
    await asyncio.to_thread(server.restart)
    async with Mesh(server.url, settings=settings()) as other:
        assert await everything(other, tasks) == before
        states = [task.state for task in before["tasks"]]
        assert states == [
            TaskState.COMPLETED,
            TaskState.DEAD,
            TaskState.SCHEDULED,
            TaskState.BLOCKED,
            TaskState.BLOCKED,
        ]
        assert len(before["edges"]) >= len(AGENTS) * (len(AGENTS) - 1)
        assert before["proposals"]["open"].votes["ada"].reason == "it is time"
        assert before["proposals"]["decided"].state is ProposalState.ACCEPTED
        assert before["waiting"] >= 1
        decided = await other.votes.vote("open", "bob", "yes")
        assert set(decided.votes) == {"ada", "bob"}
