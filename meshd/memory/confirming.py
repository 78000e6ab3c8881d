"""Waiting until enough replicas report that they have a write."""

import asyncio
from math import ceil

from meshd.clock import Clock
from meshd.errors import UnconfirmedError
from meshd.memory.access import Acks
from meshd.memory.store import MemoryStore

_FIRST_LOOK_S = 0.004
_LONGEST_PAUSE_S = 0.1


async def confirmed(store: MemoryStore, *, revision: int, acks: Acks, now_ms: Clock, live_ms: int) -> int:
    """Return how many live replicas have the store's changes up to `revision`, once they are enough.

    A replica that was closed, or that has said nothing for `live_ms`, is not waited for.

    Raises:
        UnconfirmedError: they were not within the timeout.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + acks.timeout.total_seconds()
    pause = _FIRST_LOOK_S
    while True:
        since = now_ms() - live_ms
        members = [each for each in await store.members() if each.seen_ms >= since and not each.state.get("is_closed")]
        having = sum(member.revision >= revision for member in members)
        needed = ceil(len(members) * min(acks.replicas, 1.0))
        if having >= needed:
            return having
        if loop.time() >= end:
            late = ", ".join(member.node for member in members if member.revision < revision)
            raise UnconfirmedError(
                f"written at revision {revision}, but {having} of {len(members)} replicas confirmed it, "
                f"{needed} were asked for; not yet: {late}"
            )
        await asyncio.sleep(min(pause, max(0.0, end - loop.time())))
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)
