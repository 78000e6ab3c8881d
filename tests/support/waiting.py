"""Waiting for facts instead of sleeping for guesses."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_S = 0.01


async def wait_until(
    predicate: Callable[[], Awaitable[object] | object],
    timeout: float = 5.0,
    *,
    pause: float = POLL_S,
    seen: Callable[[], object] = str,
) -> None:
    """Return as soon as `predicate` (plain or async) is true.

    Raises:
        AssertionError: it was not within `timeout` seconds; with what `seen` returns then.
    """
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return
        if time.monotonic() > end:
            raise AssertionError(f"not true within {timeout} s: {inspect.getsource(predicate).strip()} {seen()}")
        await asyncio.sleep(pause)
