"""A batch over the limit is refused whole, whatever the call."""

from collections.abc import Sequence

import pytest

from meshd.backends import Backend
from meshd.errors import InvalidArgumentError
from meshd.tasks.model import Hold, Outcome, Released
from meshd.tasks.store import MAX_BATCH
from tests.support.builders import LEASE_MS, a_task, claim_one, get_one, hold_of, submit_one

CALLS = ["start", "renew", "finish"]


async def answers_to(backend: Backend, call: str, holds: Sequence[Hold]) -> Sequence[Outcome]:
    match call:
        case "start":
            return await backend.tasks.start(holds)
        case "renew":
            return await backend.tasks.renew(holds, lease_ms=2 * LEASE_MS)
        case _:
            return await backend.tasks.finish([Released(hold=hold) for hold in holds])


@pytest.mark.parametrize("call", CALLS)
async def test_too_many_holds_are_refused_and_none_is_touched(backend: Backend, call: str) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    with pytest.raises(InvalidArgumentError):
        await answers_to(backend, call, [hold_of(task)] * (MAX_BATCH + 1))
    assert await get_one(backend, task.id) == task


@pytest.mark.parametrize("call", CALLS)
async def test_an_empty_batch_is_answered_with_nothing(backend: Backend, call: str) -> None:
    assert list(await answers_to(backend, call, [])) == []
