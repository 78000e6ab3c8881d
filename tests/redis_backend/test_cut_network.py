"""A socket that the kernel gave up on (ETIMEDOUT) ends a wait; it does not answer it again and again."""

from typing import Any, cast

import pytest
import redis.exceptions
from redis.asyncio.connection import AbstractConnection

from meshd.backends.redis.connection import read_within


class GivenUp:
    """How the driver's connection behaves once its socket has raised ETIMEDOUT: every read returns nothing at once."""

    async def read_response(self, *, timeout: float) -> Any:
        del timeout


class Silent:
    """A sound connection on which nothing came until the end of the wait."""

    async def read_response(self, *, timeout: float) -> Any:
        assert timeout == 0


async def test_a_dead_socket_is_an_error_not_a_silence() -> None:
    with pytest.raises(redis.exceptions.ConnectionError):
        await read_within(cast("AbstractConnection", GivenUp()), 30.0)


async def test_a_wait_that_ends_on_time_is_a_silence() -> None:
    assert await read_within(cast("AbstractConnection", Silent()), 0.0) is None
