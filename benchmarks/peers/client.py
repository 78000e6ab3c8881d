"""A producer process: `python -m benchmarks.peers.client PEER submit|bulk|latency COUNT`. Prints one line of JSON.

Runs inside the peer's environment, so it imports nothing but the peer and the standard library.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Protocol, cast

TEXT = "x" * 89
"""The handlers' one argument, `text`: 100 bytes with its name, as JSON."""
RATE_PER_S = 20
WARM_UP = 10
PATIENCE_S = 30

Stamps = tuple[int, int, int]
"""Nanoseconds of one call: before its submit, at its handler's start, and when its result was here."""


class Client(Protocol):
    """What the benchmark asks of a peer's producer. Each module has one, named `Client`."""

    async def open(self, url: str) -> None: ...
    async def submit(self) -> None:
        """Submit one no-op with `TEXT` and wait for the acknowledgement."""
        ...

    async def submit_many(self, count: int) -> None:
        """Submit many by the quickest way the peer documents."""
        ...

    async def call(self) -> Stamps:
        """Submit one task that returns the time of its start, and wait for its result as the peer documents."""
        ...

    async def close(self) -> None: ...


async def timed(work: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    await work()
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


async def one_by_one(client: Client, count: int) -> None:
    for _ in range(count):
        await client.submit()


async def latency(client: Client, count: int) -> dict[str, Any]:
    """Return milliseconds to the start and to the result of `count` calls, `RATE_PER_S` of them each second."""
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(WARM_UP):
            await client.call()
    began, calls = time.monotonic(), list[asyncio.Task[Stamps]]()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
        calls.append(asyncio.create_task(client.call()))
    stamps = await asyncio.gather(*calls)
    return {
        "start": [(start - submit) / 1e6 for submit, start, _ in stamps],
        "result": [(result - submit) / 1e6 for submit, _, result in stamps],
    }


async def run(peer: str, url: str, action: str, count: int) -> dict[str, Any]:
    client = cast("Client", import_module(f"benchmarks.peers.{peer}_peer").Client())
    await client.open(url)
    try:
        if action == "submit":
            return await timed(lambda: one_by_one(client, count))
        if action == "bulk":
            return await timed(lambda: client.submit_many(count))
        return await latency(client, count)
    finally:
        await client.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))))
