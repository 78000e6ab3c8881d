"""What redis-py alone does when nothing is kept, leased, ordered, recorded or recovered: the reference, not a peer."""

import asyncio
import json
import os
import sys
from itertools import count as numbers
from time import monotonic_ns
from typing import Any, cast

import redis.asyncio
from redis.exceptions import ResponseError

from benchmarks.peers.client import TEXT, Stamps
from benchmarks.peers.marks import MARKS

BATCH = 100
STREAM, GROUP = "bare:queue", "bare"


def connect(url: str) -> Any:
    """Return a plain redis-py client; its own annotations are partial, so it is used without them."""
    return cast("Any", redis.asyncio.Redis).from_url(url, socket_timeout=None, protocol=2)


class Client:
    async def open(self, url: str) -> None:
        self._redis = connect(url)
        self._numbers = numbers()
        self._payload = json.dumps({"text": TEXT})

    async def submit(self) -> None:
        await self._redis.xadd(STREAM, {"d": self._payload})

    async def submit_many(self, count: int) -> None:
        for start in range(0, count, BATCH):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for _ in range(min(BATCH, count - start)):
                    pipeline.xadd(STREAM, {"d": self._payload})
                await pipeline.execute()

    async def call(self) -> Stamps:
        answer = f"bare:answer:{next(self._numbers)}"
        began = monotonic_ns()
        await self._redis.xadd(STREAM, {"d": json.dumps({"answer": answer})})
        _, started = await self._redis.blpop([answer], timeout=30)
        return began, int(started), monotonic_ns()

    async def close(self) -> None:
        await self._redis.aclose()


async def handle(client: Any, fields: dict[bytes, bytes]) -> None:
    body = json.loads(fields[b"d"])
    if "answer" in body:
        await client.rpush(body["answer"], monotonic_ns())
    else:
        MARKS.hit()


async def work(url: str) -> None:
    """Read 100 at once, run each as an asyncio task, acknowledge and delete them in one round trip."""
    async with connect(url) as client:
        if not await client.exists(STREAM):
            await client.xadd(STREAM, {"d": json.dumps({"answer": "bare:up"})})
        try:
            await client.xgroup_create(STREAM, GROUP, id="0")
        except ResponseError as exc:
            if "BUSYGROUP" not in str(exc):
                raise
        me = str(os.getpid())
        while True:
            reply = await client.xreadgroup(GROUP, me, {STREAM: ">"}, count=BATCH, block=10_000)
            if reply:
                await run_all(client, reply[0][1])


async def run_all(client: Any, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    ids = [entry[0] for entry in entries]
    async with asyncio.TaskGroup() as group:
        for _, fields in entries:
            group.create_task(handle(client, fields))
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.xack(STREAM, GROUP, *ids)
        pipeline.xdel(STREAM, *ids)
        await pipeline.execute()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
