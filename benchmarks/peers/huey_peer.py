# pyright: basic, reportMissingImports=false
# mypy: ignore-errors
"""Huey, one worker thread: the quickest of its kinds on no-ops. It keeps results that are not None."""

import asyncio
import os
from time import monotonic_ns
from typing import Any

from huey import RedisHuey

from benchmarks.peers.client import TEXT, Stamps
from benchmarks.peers.marks import MARKS

huey = RedisHuey("bench", url=os.environ["BENCH_URL"])


@huey.task()
def noop(text: str) -> None:
    MARKS.hit()


@huey.task()
def stamp() -> int:
    return monotonic_ns()


class Client:
    async def open(self, url: str) -> None:
        pass

    async def submit(self) -> None:
        noop(TEXT)

    async def submit_many(self, count: int) -> None:
        for _ in range(count):
            noop(TEXT)

    async def call(self) -> Stamps:
        return await asyncio.to_thread(self._call)

    def _call(self) -> Stamps:
        began = monotonic_ns()
        result: Any = stamp()
        started = result.get(blocking=True, timeout=30)
        return began, started, monotonic_ns()

    async def close(self) -> None:
        pass
