"""Rows give back what was put in: every field, also of tasks that went through much."""

from dataclasses import fields
from pathlib import Path

from meshd.backends import open_backend
from meshd.tasks.model import Priority, Task, TaskPolicy
from tests.support.builders import a_claimer, a_suspect, a_task, get_one, pinned_to, start_one


async def test_a_task_that_was_read_has_every_field_and_no_other(tmp_path: Path) -> None:
    backend = await open_backend(f"sqlite:///{tmp_path / 'mesh.db'}")
    policy = TaskPolicy(max_attempts=7, progress_timeout_ms=9)
    new = a_task(priority=Priority.LOW, policy=policy, key="k", context=b"{}", placement=pinned_to("n0"))
    suspect = await a_suspect(backend, new, claimer=a_claimer("n0"))
    started = await start_one(backend, a_claimer("n0"), alone=True)
    for task in (suspect, started, await get_one(backend, new.id)):
        assert vars(task).keys() == {field.name for field in fields(Task)}
        assert task == Task(**vars(task))
        assert (task.policy, task.priority, task.context, task.placed_on) == (policy, Priority.LOW, b"{}", "n0")
    await backend.aclose()
