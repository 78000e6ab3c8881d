"""Trying again: what a call on one server outlasts, and how long it waits between two tries.

Invariant: a call is made again only if the server did nothing, or if it may be made twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any

import redis.exceptions as broken

from meshd.backends.redis.translate import is_broken, is_refused, word_of

FIRST_DELAY_S = 0.02
MAX_DELAY_S = 1.0

Act = Callable[[], Awaitable[Any]]

_chance = Random()


@dataclass(slots=True)
class Tries:
    """What became of one call so far."""

    give_up: float
    refusal: broken.RedisError | OSError | None = None
    """What the last try was refused with, until the next: a better reason than that the time is over."""


async def repeat(act: Act, tries: Tries, *, retry: bool, is_whole_store: bool) -> Any:
    """Call until it is answered or there is no time for another try.

    With `retry`, a broken connection is outlasted; on a whole store, what its server refuses for a while is as well.
    """
    delay = FIRST_DELAY_S
    while True:
        try:
            return await act()
        except (broken.RedisError, OSError) as exc:
            pause = delay * _chance.uniform(0.5, 1.0)
            is_no = is_whole_store and is_refused(exc)
            if not (is_no or (retry and is_broken(exc))) or monotonic() + pause >= tries.give_up:
                raise
            tries.refusal = exc if is_no else None
        await asyncio.sleep(pause)
        tries.refusal = None
        delay = min(delay * 2, MAX_DELAY_S)


def may_go_on(exc: Exception, *, retry: bool) -> bool:
    """Return whether a call that failed may be made again from the beginning.

    A script that the server did not know did not run: that answer, however late, leaves the call all its time.
    """
    if is_broken(exc):
        return retry
    return is_refused(exc) or isinstance(exc, broken.NoScriptError) or word_of(exc) == "REWOUND"
