"""Row B11: tasks that wait for tasks, between processes that share nothing but the store."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from meshd import Mesh, TaskRequest, TaskState
from meshd.errors import NotFoundError, TaskNotCompletedError, UnknownParentError
from tests.rows.conftest import SOON, Start, history, until_running, verbs
from tests.rows.mesh_command import Command
from tests.support.waiting import wait_until


async def test_a_task_starts_after_all_it_depends_on_have_completed(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    await start("one")
    await start("two")
    until = tmp_path / "go"
    slow = await mesh.tasks.submit("hold", until=str(until))
    quick = await mesh.tasks.submit("echo", value=1)
    after_both = await mesh.tasks.submit("echo", value=2, depends_on=[slow, quick.id])
    last = await mesh.tasks.submit("echo", value=3, depends_on=[after_both], delay=timedelta(milliseconds=10))
    assert after_both.receipt is not None
    assert after_both.receipt.state is TaskState.BLOCKED
    await quick.result(timeout=SOON)
    await until_running(mesh, slow.id)

    async def waits_for_one() -> bool:
        return (await after_both.status()).waits_for == (slow.id,)

    await wait_until(waits_for_one)
    until.touch()
    assert await last.result(timeout=SOON) == 3
    ends = [event.body["task"] for event in await history(mesh, "tasks", event="completed")]
    assert ends[-3:] == [slow.id, after_both.id, last.id]
    started = [event.body["task"] for event in await history(mesh, "tasks", event="started")]
    assert started[-2:] == [after_both.id, last.id]
    assert await verbs(mesh, after_both.id) == ["submitted", "unblocked", "claimed", "started", "completed"]


async def test_a_whole_flow_is_submitted_in_one_call_and_runs_in_its_order(mesh: Mesh, start: Start) -> None:
    await start("one")
    chain = [TaskRequest(type="echo", payload={"value": 0})]
    for value in range(1, 300):
        chain.append(TaskRequest(type="echo", payload={"value": value}, depends_on=[chain[-1]]))
    handles = await mesh.tasks.submit_many(chain)
    assert await handles[-1].result(timeout=SOON) == 299
    tasks = [await handle.status() for handle in handles]
    assert all(before.id in after.depends_on for before, after in pairwise(tasks))
    assert all((before.finished_ms or 0) <= (after.started_ms or 0) for before, after in pairwise(tasks))


async def test_a_parent_that_fails_cancels_its_children_and_theirs_and_says_so(mesh: Mesh, start: Start) -> None:
    await start("one")
    parent = await mesh.tasks.submit("fail", times=9, max_attempts=2)
    child = await mesh.tasks.submit("echo", value=1, depends_on=[parent])
    grandchild = await mesh.tasks.submit("echo", value=2, depends_on=[child])
    anyway = await mesh.tasks.submit("echo", value=3, depends_on=[parent], on_parent_failure="run_anyway")
    with pytest.raises(
        TaskNotCompletedError, match=f"is cancelled: task {child.id}, which it waited for, is cancelled"
    ):
        await grandchild.result(timeout=SOON)
    assert f"task {parent.id}, which it waited for, is dead" in (await child.status()).reason
    assert await anyway.result(timeout=SOON) == 3
    late = await mesh.tasks.submit("echo", value=4, depends_on=[parent])
    with pytest.raises(TaskNotCompletedError, match="is dead"):
        await late.result(timeout=timedelta(seconds=2))
    assert await verbs(mesh, grandchild.id) == ["submitted", "cancelled"]


async def test_a_task_that_is_not_kept_cannot_be_waited_for(mesh: Mesh) -> None:
    with pytest.raises(UnknownParentError) as caught:
        await mesh.tasks.submit("echo", value=1, depends_on=["01JD0000000000000000000000"])
    assert isinstance(caught.value, NotFoundError)
    assert "01JD0000000000000000000000" in str(caught.value)
    assert not any((await mesh.tasks.counts()).values())


async def test_the_command_line_submits_shows_and_explains_what_waits(
    mesh: Mesh, start: Start, command: Command, tmp_path: Path
) -> None:
    await start("one")
    until = tmp_path / "go"
    parent = await mesh.tasks.submit("hold", until=str(until))
    await until_running(mesh, parent.id)
    child_id = command("submit", "echo", "--arg", "value=1", "--after", parent.id).strip()
    both = ("--after", parent.id, "--after", child_id)
    anyway_id = command("submit", "echo", "--arg", "value=2", *both, "--run-anyway").strip()
    shown = command("tasks", "show", child_id)
    assert f"Depends on: {parent.id} (running)" in shown
    assert "State: BLOCKED" in shown
    explained = command("explain", anyway_id)
    assert "waits for 2 of 2 tasks" in explained
    assert f"{child_id} (echo, blocked" in explained
    until.touch()
    assert command("tasks", "wait", anyway_id).strip() == "2"
    assert command.json("tasks", "show", anyway_id)["parents"][0]["state"] == "completed"
