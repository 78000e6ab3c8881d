"""A node that starts while its store is away waits for it: whoever starts nodes need not know when the store is up."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from time import monotonic
from typing import TypeVar

from meshd.errors import UnavailableError
from meshd.runtime.outage import Outage

T = TypeVar("T")


async def once_reachable(
    action: Callable[[], Awaitable[T]], *, patience_s: float, outage: Outage, stopped: Callable[[], bool], rng: Random
) -> T:
    """Return what `action` returns, asking again while the store is away, for up to `patience_s` seconds.

    Raises:
        UnavailableError: the patience is over, `stopped` says so, or another try cannot help.
    """
    give_up = monotonic() + patience_s
    while True:
        try:
            result = await action()
        except UnavailableError as exc:
            pause = rng.uniform(0.1, 0.5)
            if not exc.retryable or stopped() or monotonic() + pause >= give_up:
                raise
            outage.met(exc)
        else:
            outage.over()
            return result
        await asyncio.sleep(pause)
