# pyright: basic, reportMissingImports=false
# mypy: ignore-errors
"""RQ with its SimpleWorker, which runs jobs in its own process: several times quicker than its forking default."""

import asyncio
import os
from time import monotonic_ns

from redis import Redis
from rq import Queue

from benchmarks.peers.client import TEXT, Stamps
from benchmarks.peers.marks import MARKS

BATCH = 100


def noop(text: str) -> None:
    MARKS.hit()


def stamp() -> int:
    return monotonic_ns()


class Client:
    async def open(self, url: str) -> None:
        self.queue = Queue(connection=Redis.from_url(os.environ["BENCH_URL"]))

    async def submit(self) -> None:
        self.queue.enqueue(noop, TEXT)

    async def submit_many(self, count: int) -> None:
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            self.queue.enqueue_many([Queue.prepare_data(noop, (TEXT,)) for _ in range(size)])

    async def call(self) -> Stamps:
        return await asyncio.to_thread(self._call)

    def _call(self) -> Stamps:
        began = monotonic_ns()
        result = self.queue.enqueue(stamp).latest_result(timeout=30)
        return began, result.return_value, monotonic_ns()

    async def close(self) -> None:
        self.queue.connection.close()
