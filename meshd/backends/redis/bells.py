"""Bells: how a claimer waits for work without asking again and again."""

import asyncio
import hashlib

import msgspec

from meshd.backends.redis.link import Link
from meshd.backends.redis.task_codec import handed_over
from meshd.tasks.model import Claimer, Wake

RING = b"1"
"""What scripts push to a bell that only rings."""
ANSWER_MARGIN_S = 5.0
"""A blocking call that the server has not answered this long after its time is taken for lost."""


def spec_of(claimer: Claimer) -> bytes:
    """Return what a claimer can run, in canonical form."""
    return msgspec.json.encode([sorted(claimer.task_types), sorted(claimer.capabilities)])


def profile_of(spec: bytes) -> str:
    """Return the name of a profile: equal abilities give equal names."""
    return hashlib.sha256(spec).hexdigest()[:16]


def name_of(claimer: Claimer, profile: str) -> str:
    """Return the name of a claimer's bell."""
    return f"{claimer.node_id}:{claimer.incarnation}:{profile}"


async def wait(store: Link, *, bell: str, claimer: Claimer, timeout_ms: int) -> Wake:
    """Return whether the bell rang within `timeout_ms`, with the task that came with it.

    It goes on ringing until the next claim silences it: an answer that is lost on its way here loses nothing.
    """
    key = store.keys.bell(bell)
    if timeout_ms <= 0:
        return _wake(await store.command("LINDEX", key, 0, retry=False), claimer)
    async with store.waiting(key) as lane, asyncio.timeout(timeout_ms / 1000 + ANSWER_MARGIN_S):
        return _wake(await lane.call(("BLMOVE", key, key, "LEFT", "RIGHT", timeout_ms / 1000)), claimer)


def _wake(element: bytes | None, claimer: Claimer) -> Wake:
    if element is None:
        return Wake()
    return Wake(rang=True, tasks=() if element == RING else (handed_over(element, claimer),))
