# pyright: basic, reportMissingImports=false
# mypy: ignore-errors
"""SAQ. It keeps every result by default."""

import asyncio
import os
from time import monotonic_ns

from saq import Queue

from benchmarks.peers.client import TEXT, Stamps
from benchmarks.peers.marks import MARKS

GATHERED = 100
LOOK_AGAIN_S = 1
"""A job that ends before the wait has subscribed is never told: its result is there for the next look."""
queue = Queue.from_url(os.environ["BENCH_URL"])


async def noop(_context: object, *, text: str) -> None:
    MARKS.hit()


async def stamp(_context: object) -> int:
    return monotonic_ns()


settings = {"queue": queue, "functions": [noop, stamp], "concurrency": int(os.environ["BENCH_CONCURRENCY"])}


class Client:
    async def open(self, url: str) -> None:
        await queue.connect()

    async def submit(self) -> None:
        await queue.enqueue("noop", text=TEXT)

    async def submit_many(self, count: int) -> None:
        for start in range(0, count, GATHERED):
            await asyncio.gather(*(queue.enqueue("noop", text=TEXT) for _ in range(min(GATHERED, count - start))))

    async def call(self) -> Stamps:
        began = monotonic_ns()
        job = await queue.enqueue("stamp")
        try:
            await job.refresh(until_complete=LOOK_AGAIN_S)
        except TimeoutError:
            await job.refresh()
        return began, job.result, monotonic_ns()

    async def close(self) -> None:
        await queue.disconnect()
