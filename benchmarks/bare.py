"""The references: what redis-py alone does when nothing is kept, leased, ordered or recovered."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio

BATCH = 100
STREAM, GROUP = "bare:queue", "bare"
PAYLOAD = json.dumps({"n": 1, "text": "x" * 80})


def connect(url: str, **options: Any) -> Any:
    """Return a plain redis-py client; its own annotations are partial, so it is used without them."""
    return cast("Any", redis.asyncio.Redis).from_url(url, **options)


async def loop_rate(url: str, count: int) -> float:
    """Return tasks/s of one process: XADD by 100, then XREADGROUP 100, JSON, one asyncio task each, XACK + XDEL."""
    async with connect(url) as redis:
        await redis.delete(STREAM)
        await redis.xgroup_create(STREAM, GROUP, mkstream=True)
        for _ in range(count // BATCH):
            async with redis.pipeline(transaction=False) as pipeline:
                for _ in range(BATCH):
                    pipeline.xadd(STREAM, {"d": PAYLOAD})
                await pipeline.execute()
        began, done = time.perf_counter(), 0
        while done < count // BATCH * BATCH:
            done += await _consume(redis)
        return done / (time.perf_counter() - began)


async def _handle(fields: Any) -> int:
    return int(json.loads(fields[b"d"])["n"])


def _entries(reply: Any) -> "list[tuple[bytes, Any]]":
    """Return the entries of one stream, in either protocol's shape."""
    streams: Any = list(cast("dict[bytes, Any]", reply).items()) if isinstance(reply, dict) else reply
    entries: list[tuple[bytes, Any]] = streams[0][1][0] if isinstance(reply, dict) else streams[0][1]
    return entries


async def _consume(redis: Any) -> int:
    entries = _entries(await redis.xreadgroup(GROUP, "me", {STREAM: ">"}, count=BATCH))
    ids = [entry[0] for entry in entries]
    async with asyncio.TaskGroup() as group:
        for _, fields in entries:
            group.create_task(_handle(fields))
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.xack(STREAM, GROUP, *ids)
        pipeline.xdel(STREAM, *ids)
        await pipeline.execute()
    return len(ids)


@asynccontextmanager
async def echo_process(url: str) -> AsyncGenerator[None, None]:
    """A process that blocks on a stream and answers each entry on a list."""
    async with connect(url) as redis:
        await redis.delete(STREAM)
        await redis.xgroup_create(STREAM, GROUP, mkstream=True)
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare", url])  # noqa: ASYNC220 -- set-up
        try:
            await redis.blpop(["bare:up"], timeout=20)
            yield
        finally:
            process.terminate()
            process.wait(10)


async def round_trip(redis: Any) -> tuple[float, float]:
    """Return milliseconds from XADD to the echo process's read, and to its answer here."""
    began = time.time_ns()
    await redis.xadd(STREAM, {"d": PAYLOAD})
    answer: Any = await redis.blpop(["bare:answers"], timeout=10)
    return (int(answer[1]) - began) / 1e6, (time.time_ns() - began) / 1e6


async def _echo(url: str) -> None:
    async with connect(url, socket_timeout=None) as redis:
        await redis.rpush("bare:up", 1)
        while True:
            reply: Any = await redis.xreadgroup(GROUP, "echo", {STREAM: ">"}, count=1, block=10_000)
            if reply:
                await redis.rpush("bare:answers", time.time_ns())


if __name__ == "__main__":
    asyncio.run(_echo(sys.argv[1]))
