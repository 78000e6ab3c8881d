"""Bells: how a claimer waits for work without asking again and again."""

import asyncio
import hashlib

import msgspec

from meshd.backends.redis.connection import Connection
from meshd.tasks.model import Claimer

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


async def wait(store: Connection, *, bell: str, timeout_ms: int) -> bool:
    """Return whether the bell rang within `timeout_ms`."""
    key = store.keys.bell(bell)
    if timeout_ms <= 0:
        return await store.command("LPOP", key, retry=False) is not None
    async with store.waiting() as lane, asyncio.timeout(timeout_ms / 1000 + ANSWER_MARGIN_S):
        return await lane.call(("BLPOP", key, timeout_ms / 1000)) is not None
