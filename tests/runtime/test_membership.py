"""A node's life in one process: join, visible at once, drain, leave, superseded."""

import asyncio
import time
from datetime import timedelta

import pytest

from meshd import Agent, Mesh, Node, Settings, TaskState
from meshd.errors import FencedError
from meshd.nodes.model import Holder, NodeStatus
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)


async def test_a_joined_node_is_visible_and_eligible_at_once(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("reader", type="language_expert", capabilities=["nlp"], concurrency=3)

    @node.task("echo")
    async def echo(text: str) -> str:
        return text

    async with node.running(store_url, settings=settings):
        seen = await mesh.nodes.get("reader")
        assert (seen.profile.type, seen.profile.capacity, seen.load) == ("language_expert", 3, 0.0)
        assert seen.profile.pid > 0
        assert seen.vitals.memory_mb > 0
        assert await mesh.nodes.holders({"nlp", "echo"}) == [Holder(node_id="reader")]
        assert await (await mesh.tasks.submit("echo", text="hi")).result(timeout=SOON) == "hi"
    assert [listed.id for listed in await mesh.nodes.list(include_dead=True)] == []


async def test_measured_fields_match_a_known_run(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("half")
    async def half(fail: bool) -> None:
        if fail:
            raise ValueError

    async with node.running(store_url, settings=settings):
        handles = [await mesh.tasks.submit("half", fail=number % 4 == 0, max_attempts=1) for number in range(8)]
        async for _ in mesh.tasks.as_ended(handles, timeout=SOON):
            pass

        async def counted() -> bool:
            vitals = (await mesh.nodes.get("worker")).vitals
            return (vitals.tasks_completed, vitals.tasks_failed, vitals.error_rate) == (6, 2, 0.25)

        await wait_until(counted)
        assert (await mesh.nodes.get("worker")).vitals.average_response_ms > 0


async def test_statuses_are_visible_elsewhere(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node, go_on = Node("worker", concurrency=1), asyncio.Event()

    @node.task("hold")
    async def hold() -> None:
        await go_on.wait()

    async def shows(status: NodeStatus) -> bool:
        return (await mesh.nodes.get("worker")).vitals.status is status

    async with node.running(store_url, settings=settings):
        await wait_until(lambda: shows(NodeStatus.ACTIVE))
        await mesh.tasks.submit("hold")
        await wait_until(lambda: shows(NodeStatus.BUSY))
        assert (await mesh.nodes.get("worker")).load == 1.0
        go_on.set()
        await wait_until(lambda: shows(NodeStatus.ACTIVE))
        await mesh.nodes.drain("worker")
        await wait_until(lambda: shows(NodeStatus.DEGRADED))
    log = await mesh.events.read("nodes", limit=1000)
    statuses = [event.body["status"] for event in log if event.body["event"] in ("joined", "status")]
    assert statuses[0] == "initializing"
    assert {"initializing", "active", "busy", "degraded", "shutting_down"} <= set(statuses)
    assert log[-1].body["event"] == "left"


async def test_a_blocking_handler_does_not_kill_its_node(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("block")
    async def block() -> str:
        time.sleep(2.5)  # over the node timeout and over the lease
        return "done"

    async with node.running(store_url, settings=settings):
        joined = (await mesh.nodes.get("worker")).incarnation
        handle = await mesh.tasks.submit("block")
        assert await handle.result(timeout=SOON) == "done"
        assert (await handle.status()).starts == 1
        assert (await mesh.nodes.get("worker")).incarnation == joined
    log = await mesh.events.read("nodes", limit=1000)
    assert [event.body["event"] for event in log if event.body["event"] != "status"] == ["joined", "left"]


async def test_a_drained_node_finishes_what_runs_and_claims_no_more(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node, go_on = Node("worker", concurrency=1), asyncio.Event()

    @node.task("hold")
    async def hold() -> str:
        await go_on.wait()
        return "finished"

    async with node.running(store_url, settings=settings):
        first = await mesh.tasks.submit("hold")
        second = await mesh.tasks.submit("hold")

        async def is_running() -> bool:
            return (await first.status()).state is TaskState.RUNNING

        await wait_until(is_running)
        asyncio.get_running_loop().call_later(0.2, go_on.set)
    assert await first.result() == "finished"
    waiting = await second.status()
    assert (waiting.state, waiting.starts, waiting.failures) == (TaskState.READY, 0, 0)


async def test_a_node_that_must_go_now_gives_its_tasks_back_uncharged(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node = Node("worker", concurrency=2, grace=timedelta(0))

    @node.task("hold")
    async def hold() -> None:
        await asyncio.Event().wait()

    async with node.running(store_url, settings=settings):
        handles = [await mesh.tasks.submit("hold") for _ in range(3)]

        async def are_running() -> bool:
            return (await mesh.tasks.counts()).get(TaskState.RUNNING, 0) == 2

        await wait_until(are_running)
        began = time.monotonic()
    assert time.monotonic() - began < 1.0
    tasks = [await handle.status() for handle in handles]
    assert [(task.state, task.failures, task.crashes) for task in tasks] == [(TaskState.READY, 0, 0)] * 3


async def test_a_second_process_of_the_same_name_takes_over(mesh: Mesh, store_url: str, settings: Settings) -> None:
    first, second = Node("twin"), Node("twin")
    running = asyncio.create_task(first.run(store_url, settings=settings))

    async def is_here() -> bool:
        return [node.id for node in await mesh.nodes.list()] == ["twin"]

    await wait_until(is_here)
    before = (await mesh.nodes.get("twin")).incarnation
    async with second.running(store_url, settings=settings):
        with pytest.raises(FencedError):
            await running
        assert (await mesh.nodes.get("twin")).incarnation > before


async def test_agents_come_and_go_on_a_running_node(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("host", agents=[Agent(id="a1", name="Ann", role="planner", capabilities=frozenset({"plan"}))])
    async with node.running(store_url, settings=settings):
        assert Holder(node_id="host", agent_id="a1") in await mesh.nodes.holders({"plan"})
        node.add_agent(Agent(id="a2", name="Bob", role="executor", capabilities=frozenset({"plan", "act"})))

        async def both_plan() -> bool:
            holders = await mesh.nodes.holders({"plan"})
            return [holder.agent_id for holder in holders] == ["", "a1", "a2"]

        await wait_until(both_plan)
        node.remove_agent("a1")

        async def one_plans() -> bool:
            holders = await mesh.nodes.holders({"plan"})
            return [holder.agent_id for holder in holders] == ["", "a2"]

        await wait_until(one_plans)


@pytest.mark.parametrize("auto_join", [True, False])
async def test_a_nodes_own_agent_joins_only_if_asked_to(
    mesh: Mesh, store_url: str, mesh_name: str, auto_join: bool
) -> None:
    settings = Settings.load(mesh=mesh_name, auto_join_network=auto_join)
    async with Node("solo", role="reasoner").running(store_url, settings=settings):
        agents = (await mesh.nodes.get("solo")).profile.agents
    assert [agent.role for agent in agents] == (["reasoner"] if auto_join else [])
