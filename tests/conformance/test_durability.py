"""A receipt never claims more than the store gives; a level it cannot give is refused before anything is written."""

import pytest

from meshd.backends import Backend
from meshd.errors import ConfigurationError, UnconfirmedError
from meshd.tasks.model import Durability
from tests.support.builders import a_task, get_one


async def own_level(backend: Backend) -> Durability:
    return (await backend.health()).durability


async def test_every_level_up_to_its_own_is_given(backend: Backend) -> None:
    own = await own_level(backend)
    for level in [level for level in Durability if level <= own]:
        new = a_task()
        (receipt,) = await backend.tasks.submit([new], durability=level)
        assert receipt.created
        assert level <= receipt.durability <= own
        assert (await get_one(backend, new.id)).id == new.id


@pytest.mark.parametrize("level", [Durability.D1, Durability.D2, Durability.D3])
async def test_a_level_above_its_own_is_refused_and_nothing_is_created(backend: Backend, level: Durability) -> None:
    if level <= await own_level(backend):
        pytest.skip("this store gives the level")
    new = a_task(key="k")
    with pytest.raises(ConfigurationError):
        await backend.tasks.submit([new, a_task()], durability=level)
    assert not any((await backend.tasks.counts()).values())
    assert (await backend.tasks.submit([new]))[0].created


async def test_a_repeat_is_answered_at_the_level_asked_for(backend: Backend) -> None:
    own, new = await own_level(backend), a_task()
    for created in (True, False):
        (receipt,) = await backend.tasks.submit([new], durability=own)
        assert (receipt.created, receipt.durability) == (created, own)


def test_an_unconfirmed_write_is_worth_another_try() -> None:
    assert UnconfirmedError.retryable
    assert not ConfigurationError.retryable
