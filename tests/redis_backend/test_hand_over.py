"""A task handed over to a claimer that cannot take it any more."""

from dataclasses import replace

from meshd.backends import Backend
from meshd.tasks.model import TaskState
from tests.support.builders import a_claimer, a_task, claim_all, claim_one, completed, get_one, submit_one


async def test_nothing_is_handed_over_to_an_incarnation_that_is_over(backend: Backend) -> None:
    old = a_claimer("n1")
    new = replace(old, incarnation=old.incarnation + 1)
    assert await claim_all(backend, old) == []
    await backend.tasks.reclaim("n1", up_to_incarnation=old.incarnation)
    task_id = (await submit_one(backend, a_task())).task_id
    assert (await get_one(backend, task_id)).state is TaskState.READY
    assert [task.id for task in await claim_all(backend, new)] == [task_id]


async def test_what_was_handed_over_before_comes_back_with_the_reclaim(backend: Backend) -> None:
    old = a_claimer("n1")
    await submit_one(backend, a_task())
    await backend.tasks.finish([completed(await claim_one(backend, old))])
    assert await claim_all(backend, old) == []
    task_id = (await submit_one(backend, a_task())).task_id
    assert (await get_one(backend, task_id)).state is TaskState.CLAIMED
    assert await backend.tasks.reclaim("n1", up_to_incarnation=old.incarnation) == 1
    task = await get_one(backend, task_id)
    assert (task.state, task.starts, task.crashes) == (TaskState.READY, 0, 0)
