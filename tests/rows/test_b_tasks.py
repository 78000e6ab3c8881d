"""Rows B1 to B10, B12, B13, B23, B24, B27 to B30, B32: tasks between processes that share nothing but the store."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd import Mesh, Priority, TaskState, codec
from meshd.clock import ManualClock
from meshd.errors import TaskNotCompletedError
from meshd.tasks.model import FailureKind
from meshd.tasks.routing import OFFSETS_MS
from tests.conftest import OpenAgain
from tests.rows.conftest import SOON, Start, history, until_running, verbs
from tests.rows.mesh_command import Command
from tests.rows.worker import Options
from tests.support.builders import a_task, claim_all, completed, hold_of
from tests.support.waiting import wait_until

LEVELS = list(Priority)


async def test_tasks_of_one_process_are_run_once_each_by_others(mesh: Mesh, start: Start) -> None:
    await start("one")
    await start("two")
    handles = [await mesh.tasks.submit("echo", value=number) for number in range(100)]
    assert [await handle.result(timeout=SOON) for handle in handles] == list(range(100))
    for verb in ("claimed", "started", "completed"):
        told = Counter(event.body["task"] for event in await history(mesh, "tasks", event=verb))
        assert told == {handle.id: 1 for handle in handles}


async def test_a_node_serves_by_priority_and_within_one_in_order(mesh: Mesh, start: Start) -> None:
    handles = [
        await mesh.tasks.submit("echo", value=0, priority=priority) for _ in range(4) for priority in reversed(LEVELS)
    ]
    tasks = [await handle.status() for handle in handles]
    await start("alone", Options(concurrency=1))
    async for _ in mesh.tasks.as_ended(handles, timeout=SOON):
        pass
    served = [event.body["task"] for event in await history(mesh, "tasks", event="started")]
    assert served == [task.id for level in LEVELS for task in tasks if task.priority is level]


async def test_a_low_task_under_endless_critical_load_is_served_within_its_bound(
    open_again: OpenAgain, clock: ManualClock
) -> None:
    submitter, node = await open_again(), await open_again()
    await submitter.tasks.submit([a_task(priority=Priority.LOW, task_id="low")])
    waited_ms, served = 0, list[str]()
    while "low" not in served:
        await submitter.tasks.submit([a_task(priority=Priority.CRITICAL) for _ in range(2)])
        held = await claim_all(node, limit=2)
        await node.tasks.start([hold_of(task) for task in held])
        await node.tasks.finish([completed(task) for task in held])
        served += [task.id for task in held]
        clock.advance(seconds=1)
        waited_ms += 1_000
        assert waited_ms <= OFFSETS_MS[Priority.LOW] + 2_000  # a round, and one more that ties with it
    assert waited_ms >= OFFSETS_MS[Priority.LOW] - 1_000


async def test_a_task_keeps_the_place_that_the_formula_gives_it(open_again: OpenAgain, clock: ManualClock) -> None:
    """At any time, effective priority = head start used up so far = waiting time - offset: the larger goes first."""
    backend = await open_again()
    ready: dict[str, tuple[int, Priority]] = {}
    for number in range(60):
        level = LEVELS[number * 7 % 5]
        ready[f"t{number}"] = (clock.now_ms, level)
        await backend.tasks.submit([a_task(priority=level, task_id=f"t{number}")])
        clock.advance(ms=3_000 + number * 137 % 2_000)
    now_ms = clock.now_ms

    def effective(task_id: str) -> int:
        ready_ms, level = ready[task_id]
        return now_ms - ready_ms - OFFSETS_MS[level]

    tasks = await claim_all(await open_again())
    assert [task.id for task in tasks] == sorted(ready, key=effective, reverse=True)
    assert all(task.vt == ready[task.id][0] + OFFSETS_MS[task.priority] for task in tasks)


async def test_a_task_submitted_with_every_option_is_read_by_any_process(command: Command) -> None:
    payload = '{"text": "hi", "n": [1, 2.5, null]}'
    said = command(
        "submit", "report.build", "--payload", payload, "--priority", "high", "--requires", "pdf,maths",
        "--prefer", "general", "--context", '{"trace": "abc"}', "--delay", "1h", "--deadline", "2h",
        "--timeout", "7s", "--key", "nightly", "--unserved", "wait",
    )  # fmt: skip
    task = command.json("tasks", "show", said.strip())["task"]
    assert (task["type"], task["payload"], task["context"]) == (
        "report.build",
        codec.parse_json(payload),
        {"trace": "abc"},
    )
    assert (task["priority"], task["requires"], task["preferred_types"]) == ("high", ["maths", "pdf"], ["general"])
    assert (task["state"], task["timeout_seconds"], task["idempotency_key"]) == ("scheduled", 7.0, "nightly")
    assert task["due_at"] < task["deadline_at"]


async def test_the_whole_end_of_a_task_is_read_by_any_process(mesh: Mesh, start: Start, command: Command) -> None:
    await start("worker")
    handle = await mesh.tasks.submit("fail", times=1)
    await handle.wait(timeout=SOON)
    task = command.json("tasks", "show", handle.id)["task"]
    assert (task["state"], task["result"], task["node"]) == ("completed", "worker attempt 2", "worker")
    assert [(error["message"], error["node"]) for error in task["errors"]] == [
        ("ValueError: attempt 1 on worker", "worker")
    ]
    assert task["created_at"] <= task["errors"][0]["at"] <= task["started_at"] <= task["finished_at"]


async def test_the_context_is_equal_to_the_byte_also_after_a_retry_elsewhere(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    context: Any = {"thread": "é\u0000\U0001f600", "depth": [1, 2.5, None, -0.0, 2**63], "long": "x" * 5_000}
    victim = await start("victim")
    handle = await mesh.tasks.submit("keep.context", folder=str(tmp_path), context=context)
    await wait_until((tmp_path / "attempt-1").exists, timeout=20)
    await start("heir")
    victim.kill()
    await handle.wait(timeout=SOON)
    assert (await handle.status()).node_id == "heir"
    sent = codec.encode(context, what="context", limit=1_000_000)
    assert [(tmp_path / f"attempt-{number}").read_bytes() for number in (1, 2)] == [sent, sent]


async def test_a_task_that_fails_three_times_is_dead_with_every_error_and_its_payload(
    mesh: Mesh, start: Start, command: Command
) -> None:
    await start("one")
    await start("two")
    handle = await mesh.tasks.submit("fail", times=9)
    with pytest.raises(TaskNotCompletedError, match="attempt 3"):
        await handle.result(timeout=SOON)
    task = command.json("tasks", "show", handle.id)["task"]
    assert (task["state"], task["failures"], task["payload"]) == ("dead", 3, {"times": 9})
    assert [error["message"].partition(" on ")[0] for error in task["errors"]] == [
        f"ValueError: attempt {number}" for number in (1, 2, 3)
    ]
    assert handle.id in command("tasks", "list", "--state", "dead")


async def test_retries_wait_two_four_and_eight_bases_and_the_worker_goes_on_meanwhile(
    mesh: Mesh, start: Start, store_url: str, mesh_name: str
) -> None:
    base_ms = 100
    retries = {"retry_backoff_seconds": base_ms / 1000, "retry_backoff_factor": 2.0, "retry_jitter": False}
    await start("alone", Options(concurrency=1))
    settings = mesh.settings.model_copy(
        update={"task_distribution": mesh.settings.task_distribution.model_copy(update=retries)}
    )
    async with Mesh(store_url, mesh=mesh_name, settings=settings) as patient:
        failing = await patient.tasks.submit("fail", times=9, max_attempts=4)
        others = 0
        while not (await failing.status()).state.is_terminal:
            await (await mesh.tasks.submit("echo", value=1)).result(timeout=SOON)
            others += 1
    told = await history(mesh, "tasks", task=failing.id)
    starts = [event.at_ms for event in told if event.body["event"] == "started"]
    failures = [error.at_ms for error in (await mesh.tasks.get(failing.id)).errors]
    waits = [begun - failed for failed, begun in zip(failures, starts[1:], strict=False)]
    assert len(starts) == len(failures) == 4
    for number, wait in enumerate(waits, start=1):
        assert base_ms * 2**number <= wait <= base_ms * 2**number + 1_000
    assert others > 3


async def test_an_overdue_task_is_stopped_marked_and_retried(mesh: Mesh, start: Start) -> None:
    await start("worker")
    limit = timedelta(milliseconds=300)
    once = await mesh.tasks.submit("overdue", first_only=True, timeout=limit)
    always = await mesh.tasks.submit("overdue", first_only=False, timeout=limit, max_attempts=2)
    assert await once.result(timeout=SOON) == "attempt 2"
    assert (await once.status()).errors[0].kind is FailureKind.TIMEOUT
    dead = await always.wait(timeout=SOON)
    assert (dead.state, [error.kind for error in dead.errors]) == (TaskState.DEAD, [FailureKind.TIMEOUT] * 2)
    assert (await (await mesh.tasks.submit("echo", value=1)).status()).policy.timeout_ms == 300_000


async def test_a_full_node_takes_nothing_and_the_rest_goes_elsewhere(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    await start("full", Options(concurrency=2))
    handles = [await mesh.tasks.submit("hold", until=str(flag)) for _ in range(5)]
    for handle in handles[:2]:
        await until_running(mesh, handle.id, "full")
    assert [(await handle.status()).state for handle in handles[2:]] == [TaskState.READY] * 3
    await start("empty")
    for handle in handles[2:]:
        await until_running(mesh, handle.id, "empty")
    flag.touch()
    results = Counter([await handle.result(timeout=SOON) for handle in handles])
    assert results == {"full attempt 1": 2, "empty attempt 1": 3}


async def test_the_load_shown_is_what_the_node_holds_at_that_moment(
    mesh: Mesh, start: Start, command: Command, tmp_path: Path
) -> None:
    await start(
        "worker", Options(concurrency=4, settings={"heartbeat_interval_seconds": 5, "node_timeout_seconds": 20})
    )
    flags = [tmp_path / f"go{number}" for number in range(3)]
    handles = [await mesh.tasks.submit("hold", until=str(flag)) for flag in flags]
    for handle in handles:
        await until_running(mesh, handle.id, "worker")
    command.env["MESHD_NODE_TIMEOUT_SECONDS"] = "20"
    for held in (3, 2, 1, 0):
        (node,) = command.json("nodes", "list")["nodes"]
        claims = (await mesh.tasks.list(node_id="worker", states=[TaskState.CLAIMED, TaskState.RUNNING])).tasks
        assert (node["open_tasks"], node["load"], len(claims)) == (held, held / 4, held)
        if held:
            flags[held - 1].touch()
            await handles[held - 1].wait(timeout=SOON)


async def test_the_states_of_a_task_are_passed_in_order(mesh: Mesh, start: Start) -> None:
    handles = [await mesh.tasks.submit("fail", times=times, max_attempts=1) for times in (0, 1)]
    assert [(await handle.status()).state for handle in handles] == [TaskState.READY] * 2
    await start("worker")
    ends = [(await handle.wait(timeout=SOON)).state for handle in handles]
    assert ends == [TaskState.COMPLETED, TaskState.DEAD]
    assert await verbs(mesh, handles[0].id) == ["submitted", "claimed", "started", "completed"]
    assert (await verbs(mesh, handles[1].id))[:3] == ["submitted", "claimed", "started"]


async def test_the_fifty_first_task_of_a_node_waits(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    await start("wide", Options(concurrency=50))
    handles = [await mesh.tasks.submit("hold", until=str(flag)) for _ in range(51)]

    async def is_full() -> bool:
        return (await mesh.tasks.counts())[TaskState.RUNNING] == 50

    await wait_until(is_full, timeout=20)
    assert (await handles[50].status()).state is TaskState.READY
    flag.touch()
    assert await handles[50].result(timeout=SOON) == "wide attempt 1"


async def test_the_same_key_answers_with_the_stored_result_and_says_so(mesh: Mesh, start: Start) -> None:
    await start("worker")
    first = await mesh.tasks.submit("echo", value=1, idempotency_key="sum")
    assert await first.result(timeout=SOON) == 1
    again = await mesh.tasks.submit("echo", value=2, idempotency_key="sum")
    assert again.receipt is not None
    assert (again.id, again.receipt.created, again.receipt.state) == (first.id, False, TaskState.COMPLETED)
    assert await again.result() == 1
    assert (await again.status()).starts == 1


async def test_processes_that_submit_one_key_at_once_get_one_task(command: Command) -> None:
    words = ("submit", "echo", "--arg", "value=1", "--key", "only", "--unserved", "wait")
    ids = await asyncio.gather(*(asyncio.to_thread(command, *words) for _ in range(3)))
    assert len(set(ids)) == 1


async def test_a_task_past_its_deadline_expires_in_time_tells_its_submitter_and_never_runs(
    mesh: Mesh, start: Start
) -> None:
    await start("sweeper", Options(concurrency=1))
    handle = await mesh.tasks.submit("echo", value=1, requires=["late"], deadline=timedelta(milliseconds=500))
    task = await handle.wait(timeout=SOON)
    assert task.state is TaskState.EXPIRED
    assert task.finished_ms is not None
    assert task.deadline_ms is not None
    assert 0 <= task.finished_ms - task.deadline_ms < 1_000
    await start("late", Options(capabilities=("late",)))
    served = await mesh.tasks.submit("echo", value=2, requires=["late"])
    assert await served.result(timeout=SOON) == 2
    assert "started" not in await verbs(mesh, handle.id)


async def test_a_cancelled_task_never_runs_and_a_running_one_stops_and_its_submitter_is_told(
    mesh: Mesh, start: Start, command: Command, tmp_path: Path
) -> None:
    waiting = await mesh.tasks.submit("echo", value=1)
    command("tasks", "cancel", waiting.id)
    await start("worker")
    running = await mesh.tasks.submit("hold", until=str(tmp_path / "never"))
    await until_running(mesh, running.id, "worker")
    told = asyncio.create_task(running.wait(timeout=SOON))
    command("tasks", "cancel", running.id)
    assert (await told).state is TaskState.CANCELLED
    assert (await waiting.wait(timeout=SOON)).state is TaskState.CANCELLED
    assert "claimed" not in await verbs(mesh, waiting.id)
