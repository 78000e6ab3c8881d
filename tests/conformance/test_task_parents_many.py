"""More tasks wait for one than the call that ends it tells: an end reported again goes on where that stopped."""

from meshd.backends import Backend
from meshd.tasks.model import Outcome, TaskState
from meshd.tasks.store import FEW_STEPS, MAX_BATCH, TOLD_AT_ONCE
from tests.conformance.test_task_parents import near, run
from tests.support.builders import completed, submit_one

LEFT = 50


async def test_an_end_that_is_told_again_goes_on_telling_those_that_wait_for_it(backend: Backend) -> None:
    parent = near("parent")
    await submit_one(backend, parent)
    children = [near("child", after=(parent,)) for _ in range(FEW_STEPS * TOLD_AT_ONCE + LEFT)]
    for start in range(0, len(children), MAX_BATCH):
        await backend.tasks.submit(children[start : start + MAX_BATCH])
    task = await run(backend, "parent")
    assert (await backend.tasks.counts())[TaskState.BLOCKED] == LEFT
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.ALREADY_DONE]
    assert (await backend.tasks.counts())[TaskState.READY] == len(children)
