"""Rows B21, B22 and B26: one task, several nodes in processes of their own, one merged result."""

from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from meshd import FanOut, Mesh, Quorum, TaskRequest, TaskState
from meshd.errors import InvalidArgumentError, NoCandidateError, TaskNotCompletedError
from meshd.nodes.model import NodeStatus, Verdict
from meshd.tasks.service import TaskHandle
from tests.rows.conftest import SOON, Start, until_running
from tests.rows.worker import Options, settings_for
from tests.support.waiting import wait_until

TEXTS = [{"text": "a b a"}, {"text": "b b"}, {"text": "c a"}]


def of(name: str, *capabilities: str) -> Options:
    """A node with one agent."""
    return Options(agents=((f"agent-{name}", "worker", capabilities),))


async def ready(mesh: Mesh, start: Start, *names: str, options: Options | None = None) -> dict[str, Popen[bytes]]:
    """Start nodes, and return when all of them take tasks."""
    processes = {name: await start(name, options or of(name)) for name in names}

    async def are_ready() -> bool:
        seen = {node.id: node.vitals.status for node in await mesh.nodes.list()}
        return all(seen.get(name) not in (None, NodeStatus.INITIALIZING) for name in names)

    await wait_until(are_ready, timeout=20)
    return processes


async def until_all_run(mesh: Mesh, handle: TaskHandle) -> None:
    async def do_all_run() -> bool:
        return all(part.state is TaskState.RUNNING for part in await mesh.tasks.parts(handle.id))

    await wait_until(do_all_run, timeout=20)


async def test_one_task_is_divided_over_three_nodes_and_one_merged_result_returns(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one", "two", "three")
    handle = await mesh.tasks.fan_out("count", parts=TEXTS, merge="sum")
    assert await handle.result(timeout=SOON) == {"a": 3, "b": 3, "c": 1}
    parts = await handle.parts()
    assert {part.node_id for part in parts} == {"one", "two", "three"}
    assert [part.agents for part in parts] == [(f"agent-{part.node_id}",) for part in parts]
    assert [part.result for part in parts] == [{"a": 2, "b": 1}, {"b": 2}, {"c": 1, "a": 1}]
    named = await mesh.tasks.fan_out("who")
    assert await named.result(timeout=SOON) == [part.node_id for part in await named.parts()]
    why = await mesh.tasks.explain(parts[1].task_id)
    assert why.decision is not None
    assert why.decision.rejected == {"other parts": 1}
    assert why.summary.endswith("chosen by being apart from its other parts")


async def test_at_most_five_nodes_are_given_a_task_and_more_parts_are_refused(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, *(f"n{number}" for number in range(6)), options=Options(concurrency=2))
    handle = await mesh.tasks.fan_out("who", merge="list")
    ran = await handle.result(timeout=SOON)
    assert len(ran) == len(set(ran)) == 5
    assert set(ran) == {part.node_id for part in await handle.parts()}
    with pytest.raises(InvalidArgumentError, match=r"6 parts are more than the 5 .*groups.max_size"):
        await mesh.tasks.fan_out("who", copies=6)
    with pytest.raises(InvalidArgumentError, match="max_nodes 6"):
        await mesh.tasks.fan_out("who", max_nodes=6)
    assert len(await (await mesh.tasks.fan_out("who", max_nodes=2)).result(timeout=SOON)) == 2


async def test_what_no_node_can_run_is_refused_at_once_and_says_why(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one", options=of("one", "ocr"))
    before = await mesh.tasks.counts()
    for asked in (FanOut(copies=2), FanOut()):
        with pytest.raises(NoCandidateError, match="no live node holds gpu, who; nearest is one"):
            await mesh.tasks.fan_out("who", copies=asked.copies, requires=["gpu"])
    with pytest.raises(
        NoCandidateError, match="2 parts need as many different nodes; those that can run them are: one"
    ):
        await mesh.tasks.fan_out("who", copies=2, distinct="require")
    assert await mesh.tasks.counts() == before
    assert await (await mesh.tasks.fan_out("who", copies=2)).result(timeout=SOON) == ["one", "one"]


async def test_parts_go_to_agents_that_can_do_them_and_the_result_names_these(mesh: Mesh, start: Start) -> None:
    for name in ("one", "two"):
        more = (f"helper-{name}", "helper", ("ocr",))
        await ready(mesh, start, name, options=Options(agents=((f"coder-{name}", "coder", ("python",)), more)))
    await ready(mesh, start, "three", options=of("three", "ocr"))
    handle = await mesh.tasks.fan_out("who", requires=["python"], merge="dict")
    assert sorted((await handle.result(timeout=SOON)).values()) == ["one", "two"]
    assert sorted(part.agents for part in await handle.parts()) == [("coder-one",), ("coder-two",)]


@pytest.mark.parametrize("distinct", ["prefer", "require"])
async def test_a_node_killed_at_its_part_loses_nothing(mesh: Mesh, start: Start, tmp_path: Path, distinct: str) -> None:
    running = await ready(mesh, start, "one", "two", "three")
    until = tmp_path / "go"
    handle = await mesh.tasks.fan_out("count", {"until": str(until)}, parts=TEXTS, merge="sum", distinct=distinct)
    await until_all_run(mesh, handle)
    await ready(mesh, start, "four")
    victim = (await handle.parts())[0].node_id
    running[victim].kill()
    until.touch()
    assert await handle.result(timeout=SOON) == {"a": 3, "b": 3, "c": 1}
    parts = await handle.parts()
    assert [part.attempts for part in parts] == [2, 1, 1]
    assert victim not in {part.node_id for part in parts}
    if distinct == "require":
        assert parts[0].node_id == "four"


async def test_a_node_killed_while_it_merges_loses_nothing(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    running = await ready(mesh, start, "one", "two")
    until = str(tmp_path / "go")
    handle = await mesh.tasks.fan_out("count", parts=[{"text": until}, {"text": "b"}], merge="task:merge.held")
    await until_running(mesh, handle.id)
    victim = (await handle.status()).node_id
    assert victim is not None
    running[victim].kill()
    Path(until).touch()
    (other,) = running.keys() - {victim}
    assert await handle.result(timeout=SOON) == [until, "b", other]
    assert [part.attempts for part in await handle.parts()] == [1, 1]


async def test_parts_that_must_be_apart_wait_rather_than_share_a_node(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    running = await ready(mesh, start, "one", "two")
    until = tmp_path / "go"
    common = {"until": str(until)}
    handle = await mesh.tasks.fan_out("count", common, parts=TEXTS[:2], merge="sum", distinct="require")
    await until_all_run(mesh, handle)
    victim, other = (part.node_id for part in await handle.parts())
    running[victim].kill()
    until.touch()

    async def is_given_up() -> bool:
        return (await mesh.nodes.get(victim)).verdict is Verdict.DEAD

    async def is_ready() -> bool:
        return (await handle.parts())[0].state is TaskState.READY

    await wait_until(is_given_up, timeout=20)
    await wait_until(is_ready, timeout=20)
    why = await mesh.tasks.why_not((await handle.parts())[0].task_id, other)
    assert "the task excludes this node" in why.reasons
    await start("three")
    assert await handle.result(timeout=SOON) == {"a": 2, "b": 3}


@pytest.mark.parametrize("bad", [["b b"], ["b b", "c a", "a b a"]])
async def test_a_failed_part_fails_the_task_or_is_missing_as_was_asked(
    mesh: Mesh, start: Start, bad: list[str]
) -> None:
    await ready(mesh, start, "one", "two")
    common = {"bad": bad[0]} if len(bad) == 1 else {}
    parts = [{**part, **common} if common else {**part, "bad": part["text"]} for part in TEXTS]
    failing = await mesh.tasks.fan_out("count.but", parts=parts, merge="sum", max_attempts=1)
    lost = len(bad)
    with pytest.raises(TaskNotCompletedError, match=f"{lost} of 3 parts did not complete: .*cannot be counted"):
        await failing.result(timeout=SOON)
    partial = await mesh.tasks.fan_out("count.but", parts=parts, merge="sum", max_attempts=1, on_failure="partial")
    if lost == 3:
        with pytest.raises(TaskNotCompletedError, match="3 of 3 parts"):
            await partial.result(timeout=SOON)
        return
    told = await partial.result(timeout=SOON)
    assert (told["value"], told["is_partial"]) == (5, True)
    (missing,) = told["missing"]
    listed = (await partial.parts())[1]
    assert missing == {"part": "1", "task": listed.task_id, "node": listed.node_id, "error": listed.error}
    assert "b b cannot be counted" in listed.error


async def test_a_handler_merges_on_a_node_that_has_it(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one", "two")
    handle = await mesh.tasks.fan_out("count", parts=TEXTS[:2], merge="task:largest")
    assert await handle.result(timeout=SOON) == ["b", 3, "mesh.merge"]
    with pytest.raises(NoCandidateError, match=r"mesh\.merge, missing"):
        await mesh.tasks.fan_out("count", parts=TEXTS, merge="task:missing")


async def test_named_parts_come_back_by_name_and_a_repeat_runs_nothing_twice(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one")
    parts: dict[str, dict[str, Any]] = {"eu": {"text": "a"}, "us": {"text": "b b"}}
    first, second = [
        await mesh.tasks.fan_out("count", parts=parts, merge="dict", idempotency_key="night") for _ in range(2)
    ]
    assert first.id == second.id
    assert second.receipt is not None
    assert not second.receipt.created
    assert await second.result(timeout=SOON) == {"eu": {"a": 1}, "us": {"b": 2}}
    assert len((await mesh.tasks.list(type="count")).tasks) == 2
    with pytest.raises(InvalidArgumentError, match="how many"):
        await mesh.tasks.fan_out("who", idempotency_key="night 2")


async def test_a_divided_task_is_part_of_a_flow_like_any_other(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one")
    before = TaskRequest(type="echo", payload={"value": 1})
    divided = TaskRequest(type="who", fan_out=FanOut(), depends_on=[before])
    after = TaskRequest(type="echo", payload={"value": 2}, depends_on=[divided])
    *_, held, last = await mesh.tasks.submit_many([before, divided, after])
    assert await last.result(timeout=SOON) == 2
    assert await held.result(timeout=SOON) == ["one"]
    with pytest.raises(InvalidArgumentError, match="has no parts"):
        await last.parts()


async def test_the_copies_of_a_verified_task_run_on_different_nodes_too(mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one", "two", "three")
    handle = await mesh.tasks.submit("count", text="a b", verify=Quorum(2))
    assert await handle.result(timeout=SOON) == {"a": 1, "b": 1}
    copies = [await mesh.tasks.get(copy) for copy in (await handle.status()).depends_on]
    assert {copy.node_id for copy in copies} == {"one", "two", "three"}


async def test_the_limit_is_a_setting(store_url: str, mesh_name: str, mesh: Mesh, start: Start) -> None:
    await ready(mesh, start, "one", "two", "three")
    async with Mesh(store_url, settings=settings_for(mesh_name, groups={"max_size": 2})) as small:
        with pytest.raises(InvalidArgumentError, match="3 parts are more than the 2 nodes"):
            await small.tasks.fan_out("who", copies=3)
        handle = await small.tasks.fan_out("who", deadline=timedelta(seconds=30))
        assert len(await handle.result(timeout=SOON)) == 2
