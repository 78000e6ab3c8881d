"""Attempts that beat and make no progress, and tasks that kill their node."""

import asyncio
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from meshd import Mesh, Node, Settings, TaskContext, TaskState
from meshd.errors import InvalidArgumentError
from meshd.runtime.holds import RENEW_GRACE_MS, Holds
from meshd.tasks.model import FailureKind, Hold, Task, TaskPolicy
from meshd.tasks.states import create
from tests.support.builders import a_task

SOON = timedelta(seconds=20)
QUIET = timedelta(milliseconds=300)


async def test_an_attempt_without_a_sign_of_progress_is_stopped(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node, stopped = Node("worker"), asyncio.Event()

    @node.task("hang")
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("hang", progress_timeout=QUIET, max_attempts=1)
        task = await handle.wait(timeout=SOON)
    assert stopped.is_set()
    assert (task.state, task.errors[0].kind) == (TaskState.DEAD, FailureKind.TIMEOUT)
    assert "made no progress for 0.3 s" in task.errors[0].message


@pytest.mark.parametrize("sign", ["progress", "heartbeat"])
async def test_signs_of_progress_keep_an_attempt_alive(
    mesh: Mesh, store_url: str, settings: Settings, sign: str
) -> None:
    node = Node("worker")

    @node.task("steady")
    def steady(context: TaskContext) -> int:
        signs = 0
        end = time.monotonic() + 3 * QUIET.total_seconds()
        while time.monotonic() < end:
            context.progress(0.5) if sign == "progress" else context.heartbeat()
            signs += 1
            threading.Event().wait(0.05)
        return signs

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("steady", progress_timeout=QUIET, max_attempts=1)
        assert await handle.result(timeout=SOON) > 3


async def test_a_time_out_below_zero_is_refused(mesh: Mesh) -> None:
    with pytest.raises(InvalidArgumentError, match="progress_timeout"):
        await mesh.tasks.submit("hang", progress_timeout=timedelta(seconds=-1))


def a_held(task_id: str, policy: TaskPolicy) -> Task:
    return create(replace(a_task(task_id=task_id), policy=policy), now_ms=0)


def test_a_lease_is_left_to_lapse_when_nothing_is_heard_of_the_attempt() -> None:
    now = [100.0]
    holds = Holds(clock=lambda: now[0])
    hold = Hold(task_id="quiet", token=1)
    holds.add(a_held("quiet", TaskPolicy(progress_timeout_ms=1_000)), hold)
    now[0] += (1_000 + RENEW_GRACE_MS) / 1000 - 0.1
    assert holds.to_renew() == [hold]
    holds.progressed(hold)
    now[0] += 1
    assert holds.to_renew() == [hold]
    now[0] += (1_000 + RENEW_GRACE_MS) / 1000
    assert holds.to_renew() == []
    assert holds.all() == [hold]


def test_a_lease_is_left_to_lapse_after_the_timeout() -> None:
    now = [100.0]
    holds = Holds(clock=lambda: now[0])
    hold = Hold(task_id="long", token=1)
    holds.add(a_held("long", TaskPolicy(timeout_ms=60_000)), hold)
    now[0] += 60 + RENEW_GRACE_MS / 1000 - 0.1
    assert holds.to_renew() == [hold]
    now[0] += 0.2
    assert holds.to_renew() == []
