# pyright: basic, reportMissingImports=false
# mypy: ignore-errors
"""taskiq on a Redis stream. Results are kept only where they are measured, as is its default."""

import asyncio
import os
from time import monotonic_ns

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers.client import TEXT, Stamps
from benchmarks.peers.marks import MARKS

URL = os.environ["BENCH_URL"]
GATHERED = 100
broker = RedisStreamBroker(URL)
if os.environ["BENCH_RESULTS"] == "1":
    broker = broker.with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=600))


@broker.task
async def noop(text: str) -> None:
    MARKS.hit()


@broker.task
async def stamp() -> int:
    return monotonic_ns()


class Client:
    async def open(self, url: str) -> None:
        await broker.startup()

    async def submit(self) -> None:
        await noop.kiq(text=TEXT)

    async def submit_many(self, count: int) -> None:
        for start in range(0, count, GATHERED):
            await asyncio.gather(*(noop.kiq(text=TEXT) for _ in range(min(GATHERED, count - start))))

    async def call(self) -> Stamps:
        began = monotonic_ns()
        task = await stamp.kiq()
        result = await task.wait_result(timeout=30)
        return began, result.return_value, monotonic_ns()

    async def close(self) -> None:
        await broker.shutdown()
