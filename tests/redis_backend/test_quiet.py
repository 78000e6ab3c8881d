"""A mesh in which no time makes anything due is swept rarely, and told at once when that ends."""

from collections.abc import Mapping
from typing import Any

import pytest

from meshd.backends import Backend
from meshd.tasks.model import Placement
from meshd.tasks.store import DUE_TOPIC
from tests.support.builders import a_claimer, a_task, claim_one, completed, submit_one


async def is_quiet(backend: Backend) -> bool:
    return (await backend.tasks.sweep()).is_quiet


async def test_a_mesh_is_quiet_while_nothing_is_ready_held_or_due(backend: Backend) -> None:
    assert await is_quiet(backend)
    await submit_one(backend, a_task())
    assert not await is_quiet(backend)
    task = await claim_one(backend, a_claimer())
    assert not await is_quiet(backend)
    await backend.tasks.finish([completed(task)])
    assert await is_quiet(backend)


@pytest.mark.parametrize(
    "wishes",
    [{"delay_ms": 60_000}, {"expires_in_ms": 60_000}, {"placement": Placement(node_id="n1", hold_back_ms=60_000)}],
    ids=["delay", "deadline", "hold-back"],
)
async def test_the_first_task_that_time_makes_due_is_told(backend: Backend, wishes: Mapping[str, Any]) -> None:
    async with backend.events.subscribe(DUE_TOPIC) as hints:
        await submit_one(backend, a_task(**wishes))
        assert await hints.get(timeout_ms=5_000) is not None
        await submit_one(backend, a_task(**wishes))
        await backend.events.publish(DUE_TOPIC, {"last": True})
        hint = await hints.get(timeout_ms=5_000)
        assert hint is not None
        assert hint.body == {"last": True}
    assert not await is_quiet(backend)


async def test_a_task_for_now_tells_nobody_of_times(backend: Backend) -> None:
    async with backend.events.subscribe(DUE_TOPIC) as hints:
        await submit_one(backend, a_task())
        await backend.events.publish(DUE_TOPIC, {"last": True})
        hint = await hints.get(timeout_ms=5_000)
        assert hint is not None
        assert hint.body == {"last": True}
