"""Rows B14 to B20, I13, I14 and the issue's routing: tasks go where they should, and the mesh can say why."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from meshd import Mesh, Node, Settings, TaskState
from meshd.errors import ConfigurationError, NoCandidateError
from meshd.nodes.model import NodeStatus, Verdict
from meshd.tasks.placement import FRESH_SECONDS
from meshd.tasks.service import TaskHandle
from tests.rows.conftest import SOON, Start
from tests.rows.mesh_command import Command
from tests.rows.worker import settings_for
from tests.support.waiting import wait_until

PATIENT_S = 20.0
"""How long tasks are held back for their nodes here, so that a busy machine does not change who runs them."""


class Open(Protocol):
    """Opens the mesh as a client with settings of its own."""

    async def __call__(self, **settings: Any) -> Mesh: ...


@pytest.fixture
async def open_mesh(store_url: str, mesh_name: str) -> AsyncGenerator[Open, None]:
    async with AsyncExitStack() as stack:

        async def open_one(**choices: Any) -> Mesh:
            settings = settings_for(mesh_name, **{"task_distribution__hold_back_seconds": PATIENT_S, **choices})
            return await stack.enter_async_context(Mesh(store_url, settings=settings))

        yield open_one


def a_node(name: str, *, concurrency: int = 16, **choices: Any) -> Node:
    """Return a node that says who it is, and holds what never ends."""
    node = Node(name, concurrency=concurrency, **choices)

    @node.task("who")
    async def who() -> str:
        return name

    @node.task("hold")
    async def hold() -> str:
        await asyncio.sleep(3600)
        return name

    return node


At = Callable[..., Any]


@pytest.fixture
def at_work(store_url: str, mesh_name: str, mesh: Mesh) -> At:
    """Runs nodes in this process for the length of a block, which begins when all are ready."""

    @asynccontextmanager
    async def running(*nodes: Node, **settings: Any) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(
                    node.running(store_url, settings=settings_for(mesh_name, **settings)),
                )

            async def are_ready() -> bool:
                seen = {node.id: node.vitals.status for node in await mesh.nodes.list()}
                return all(seen.get(node.name) not in (None, NodeStatus.INITIALIZING) for node in nodes)

            await wait_until(are_ready, timeout=20)
            try:
                yield
            finally:
                for node in nodes:
                    node.stop_now()

    return running


async def results(handles: Sequence[TaskHandle]) -> list[Any]:
    return [await handle.result(timeout=SOON) for handle in handles]


async def held_by(mesh: Mesh) -> dict[str, int]:
    return {node.id: node.vitals.open_tasks for node in await mesh.nodes.list()}


async def occupy(mesh: Mesh, name: str, count: int) -> list[TaskHandle]:
    """Give a node tasks that do not end."""
    before = (await held_by(mesh))[name]
    handles = [await mesh.tasks.submit("hold", node=name) for _ in range(count)]

    async def holds() -> bool:
        return (await held_by(mesh))[name] == before + count

    await wait_until(holds, timeout=10)
    return handles


async def test_least_loaded_goes_to_the_node_with_the_least_and_ties_are_stable(
    mesh: Mesh, open_mesh: Open, at_work: At
) -> None:
    async with at_work(*(a_node(name, concurrency=4) for name in "abc")):
        await occupy(mesh, "a", 2)
        await occupy(mesh, "b", 1)
        await occupy(mesh, "c", 1)

        async def choose() -> str:
            client = await open_mesh(task_distribution__algorithm="least_loaded")
            handle = await client.tasks.submit("who")
            assert await handle.result(timeout=SOON) == (await handle.status()).placed_on
            return (await handle.status()).placed_on or ""

        assert [await choose() for _ in range(3)] == ["b"] * 3
        await occupy(mesh, "b", 1)
        assert [await choose() for _ in range(3)] == ["c"] * 3


async def test_round_robin_over_equal_nodes_differs_by_at_most_one(open_mesh: Open, at_work: At) -> None:
    async with at_work(*(a_node(name) for name in "abc")):
        client = await open_mesh(task_distribution__algorithm="round_robin")
        served = Counter(await results([await client.tasks.submit("who") for _ in range(20)]))
        assert sum(served.values()) == 20
        assert max(served.values()) - min(served.values()) <= 1
        assert set(served) == set("abc")


async def test_capability_based_takes_the_closest_fit_not_the_first(open_mesh: Open, at_work: At) -> None:
    can_all = a_node("a", capabilities=["gpu=expert", "ocr", "pdf"])
    async with at_work(can_all, a_node("b", capabilities=["gpu=intermediate"]), a_node("c", capabilities=["ocr"])):
        client = await open_mesh(task_distribution__algorithm="capability_based")
        asked = [["gpu"], ["gpu>=intermediate"], ["gpu>=advanced"], ["ocr"], ["gpu", "ocr"]]
        handles = [await client.tasks.submit("who", requires=requires) for requires in asked]
        assert await results(handles) == ["b", "b", "a", "c", "a"]


async def test_random_is_roughly_uniform_and_a_seed_repeats_it(open_mesh: Open, at_work: At) -> None:
    async with at_work(*(a_node(name, concurrency=64) for name in "abc")):

        async def draw(seed: int) -> list[str]:
            settings = {"task_distribution__algorithm": "random", "task_distribution__seed": seed}
            client = await open_mesh(**settings)
            return await results([await client.tasks.submit("who") for _ in range(45)])

        first = await draw(7)
        assert min(Counter(first).values()) >= 6
        assert await draw(7) == first
        assert await draw(8) != first


async def test_a_preferred_type_is_taken_if_it_is_there_and_done_without_otherwise(
    open_mesh: Open, at_work: At
) -> None:
    async with at_work(a_node("a"), a_node("b")):
        async with at_work(a_node("z", type="language_expert")):
            handle = await (await open_mesh()).tasks.submit("who", preferred_types=["language_expert"])
            assert await handle.result(timeout=SOON) == "z"
        handle = await (await open_mesh()).tasks.submit("who", preferred_types=["language_expert"])
        assert await handle.result(timeout=SOON) in ("a", "b")


async def test_success_on_a_node_raises_its_share(mesh: Mesh, open_mesh: Open, at_work: At) -> None:
    nodes = [a_node(name) for name in "abc"]
    for node in nodes:

        @node.task("fragile")
        async def fragile(node: Node = node) -> str:
            if node.name != "c":
                raise ValueError(f"not on {node.name}")
            return node.name

    async def share_of_c(client: Mesh) -> float:
        handles = [await client.tasks.submit("fragile", max_attempts=1, routing="affinity") for _ in range(9)]
        ended = [task async for task in client.tasks.as_ended(handles, timeout=SOON)]
        return sum(task.node_id == "c" for task in ended) / len(ended)

    async def history_is_told() -> bool:
        seen = {node.id: node.vitals.history.get("fragile") for node in await mesh.nodes.list()}
        return all(seen[name] is not None for name in "abc")

    async with at_work(*nodes):
        before = await share_of_c(await open_mesh())
        await wait_until(history_is_told, timeout=10)
        after = await share_of_c(await open_mesh())
        assert before == pytest.approx(1 / 3, abs=0.12)
        assert after > before + 0.3


async def test_the_choice_and_every_factor_of_it_can_be_explained(
    open_mesh: Open, at_work: At, command: Command
) -> None:
    near, far = {"zone": "eu", "memory_gb": "64"}, {"zone": "us", "memory_gb": "128"}
    async with at_work(
        a_node("a", labels=near), a_node("b", labels=far, type="hub"), a_node("c", labels={"memory_gb": "8"})
    ):
        handle = await (await open_mesh()).tasks.submit(
            "who", requires=["memory_gb>=64"], prefers=["zone=eu:3"], preferred_types=["hub"]
        )
        assert await handle.result(timeout=SOON) == "a"
        told = await asyncio.to_thread(command.json, "explain", handle.id)
        assert told["decision"]["chosen"] == told["decision"]["top"][0]["node"] == "a"
        assert told["decision"]["rejected"] == {"memory_gb>=64": 1}
        factors = {"fit", "type", "preferences", "load", "history", "health"}
        for one in told["decision"]["top"]:
            weights = told["decision"]["weights"]
            assert set(one["terms"]) == set(weights) == factors
            mean = sum(weights[term] * value for term, value in one["terms"].items()) / sum(weights.values())
            assert one["score"] == pytest.approx(mean, abs=0.002)
        assert told["summary"].endswith("chosen by its preferences")
        why = await asyncio.to_thread(command, "why-not", handle.id, "c")
        assert "memory_gb>=64: has 8" in why
        why = await asyncio.to_thread(command, "why-not", handle.id, "b")
        assert "at the submit its preferences chose a" in why
        assert "preferences 1 against 0" in why


async def test_a_waiting_task_says_what_would_start_it(mesh: Mesh, at_work: At, command: Command) -> None:
    async with at_work(a_node("a", capabilities=["vision=intermediate"], concurrency=1)):
        lacking = await mesh.tasks.submit("who", requires=["vision>=advanced"])
        told = await asyncio.to_thread(command.json, "explain", lacking.id)
        assert told["summary"] == "ready, but no node here can run it"
        assert told["nodes"][0]["obstacles"] == [
            {"kind": "unmet", "term": "vision>=advanced", "detail": "vision>=advanced: has intermediate"}
        ]
        assert told["unblock"] == [
            "a node with a handler for who, vision>=advanced",
            "nearest is a, which lacks vision>=advanced: has intermediate",
        ]
        drawn = await asyncio.to_thread(command, "explain", lacking.id)
        assert "What would let it start:\n  a node with a handler for who, vision>=advanced" in drawn
        await occupy(mesh, "a", 1)
        waiting = await mesh.tasks.submit("who")
        told = await asyncio.to_thread(command.json, "explain", waiting.id)
        assert told["unblock"] == ["a free slot on a"]
        assert "1 of 1 slots taken" in await asyncio.to_thread(command, "why-not", waiting.id, "a")
        await mesh.nodes.drain("a")
        assert "was asked to drain" in (await mesh.tasks.why_not(waiting.id, "a")).reasons
        await mesh.tasks.pause("who")
        assert (await waiting.explain()).summary == "ready, but tasks of type who are paused"
        await mesh.tasks.resume("who")
        await asyncio.to_thread(command, "explain", "01JD0000000000000000000000", code=3)
        await asyncio.to_thread(command, "why-not", waiting.id, "nobody", code=3)


async def test_a_task_left_to_the_first_idle_node_is_explained_too(mesh: Mesh, at_work: At) -> None:
    async with at_work(a_node("a")):
        handle = await mesh.tasks.submit("who")
        await handle.result(timeout=SOON)
        told = await handle.explain()
        assert told.decision is None
        assert told.summary.startswith("completed on a at ")
        assert told.summary.endswith(", the first idle node that could run it")


async def test_a_pin_and_an_exclusion_hold(mesh: Mesh, at_work: At) -> None:
    async with at_work(*(a_node(name) for name in "abc")):
        pinned = [await mesh.tasks.submit("who", node="b") for _ in range(5)]
        excluding = [await mesh.tasks.submit("who", not_on=["a", "b"]) for _ in range(5)]
        assert await results([*pinned, *excluding]) == ["b"] * 5 + ["c"] * 5
        absent = await mesh.tasks.submit("who", node="d")
        assert (await absent.explain()).unblock == ("node d joining",)
        with pytest.raises(NoCandidateError, match="node 'd'"):
            await mesh.tasks.submit("who", node="d", unserved="refuse")
        async with at_work(a_node("d")):
            assert await absent.result(timeout=SOON) == "d"


@pytest.mark.parametrize(
    ("requires", "served"),
    [
        (["zone=eu"], {"a"}),
        (["zone!=eu"], {"b", "c"}),
        (["memory_gb>=64"], {"b"}),
        (["memory_gb<64"], {"a"}),
        (["zone=eu", "memory_gb>=64"], set[str]()),
    ],
)
async def test_labels_are_compared(mesh: Mesh, at_work: At, requires: list[str], served: set[str]) -> None:
    labels: dict[str, dict[str, str]] = {
        "a": {"zone": "eu", "memory_gb": "32"},
        "b": {"zone": "us", "memory_gb": "64"},
        "c": {},
    }
    async with at_work(*(a_node(name, labels=own) for name, own in labels.items())):
        told = await (await mesh.tasks.submit("hold", requires=requires)).explain()
        assert {view.node_id for view in told.nodes if not view.obstacles or view.holds_it} == served
        if not served:
            with pytest.raises(NoCandidateError, match="nearest is"):
                await mesh.tasks.submit("who", requires=requires, unserved="refuse")
        else:
            handles = [await mesh.tasks.submit("who", requires=requires, unserved="refuse") for _ in range(4)]
            assert set(await results(handles)) <= served


async def test_tasks_go_around_a_node_that_died(mesh: Mesh, start: Start, open_mesh: Open) -> None:
    dying = await start("a")
    await start("b")
    client = await open_mesh(task_distribution__algorithm="least_loaded", task_distribution__hold_back_seconds=0.5)
    dying.kill()
    handles = [await client.tasks.submit("who") for _ in range(6)]
    assert set(await results(handles)) == {"b"}

    async def is_judged() -> bool:
        return (await mesh.nodes.get("a")).verdict is Verdict.DEAD

    await wait_until(is_judged, timeout=10)
    handle = await (await open_mesh(task_distribution__algorithm="least_loaded")).tasks.submit("who")
    assert await handle.result(timeout=SOON) == "b"
    told = await handle.explain()
    assert told.decision is not None
    assert told.decision.nodes == 1
    assert "judged dead" in (await mesh.tasks.why_not(handle.id, "a")).reasons


async def test_a_node_over_its_memory_limit_is_degraded_and_holds_one_task(
    mesh: Mesh, open_mesh: Open, at_work: At
) -> None:
    async with at_work(a_node("a"), memory_limit_mb=1), at_work(a_node("b", concurrency=6)):

        async def is_degraded() -> bool:
            return {node.id: node.vitals.status for node in await mesh.nodes.list()}["a"] is NodeStatus.DEGRADED

        await wait_until(is_degraded, timeout=10)
        client = await open_mesh(task_distribution__algorithm="least_loaded")
        placed = [await client.tasks.submit("hold") for _ in range(3)]
        assert {(await handle.status()).placed_on for handle in placed} == {"b"}
        for _ in range(8):
            await mesh.tasks.submit("hold")

        async def all_slots_are_taken() -> bool:
            return await held_by(mesh) == {"a": 1, "b": 6}

        await wait_until(all_slots_are_taken, timeout=10)
        waiting = (await mesh.tasks.list(states=[TaskState.READY])).tasks
        assert len(waiting) == 4
        why = await mesh.tasks.why_not(waiting[0].id, "a")
        assert "degraded, so it holds one at a time: 1 of 1 slots taken" in why.reasons


async def test_the_algorithm_is_a_setting_under_its_older_name_too(
    store_url: str, mesh_name: str, at_work: At, tmp_path: Path
) -> None:
    written = tmp_path / "config.yaml"
    written.write_text("agent_mesh: {task_distribution: {load_balancing_algorithm: capability_based}}")
    settings = Settings.load(written, mesh=mesh_name)
    async with (
        at_work(a_node("a", capabilities=["gpu", "ocr"]), a_node("b", capabilities=["gpu"])),
        Mesh(store_url, settings=settings) as client,
    ):
        handle = await client.tasks.submit("who", requires=["gpu"])
        assert await handle.result(timeout=SOON) == "b"
        decision = (await handle.explain()).decision
        assert decision is not None
        assert (decision.policy, decision.hold_back_ms) == ("capability_based", 1_000)


async def test_affinity_decides_between_equals_only_where_it_is_enabled(
    mesh: Mesh, open_mesh: Open, at_work: At
) -> None:
    async with at_work(*(a_node(name) for name in "abc")):
        await results([await mesh.tasks.submit("who", node="c") for _ in range(3)])

        async def history_is_told() -> bool:
            return (await mesh.nodes.get("c")).vitals.history.get("who") is not None

        await wait_until(history_is_told, timeout=10)
        for enabled, chosen in ((True, "c"), (False, "a")):
            client = await open_mesh(
                task_distribution__algorithm="least_loaded", task_distribution__task_affinity_enabled=enabled
            )
            assert await (await client.tasks.submit("who")).result(timeout=SOON) == chosen
        with pytest.raises(ConfigurationError, match="algorithm affinity needs task_affinity_enabled"):
            await open_mesh(task_distribution__algorithm="affinity", task_distribution__task_affinity_enabled=False)


async def test_a_placement_costs_one_look_at_the_nodes_a_second_at_most(open_mesh: Open, at_work: At) -> None:
    async with at_work(a_node("a", concurrency=64)):
        client = await open_mesh(task_distribution__algorithm="round_robin")
        handles = [await client.tasks.submit("who") for _ in range(20)]
        ages = [told.age_ms for handle in handles if (told := (await handle.explain()).decision) is not None]
        assert ages == sorted(ages)
        assert ages[-1] < FRESH_SECONDS * 1000
