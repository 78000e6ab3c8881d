"""Messages between two processes beside what redis-py does with two streams and no promises.

`python -m benchmarks.messages [--rounds 3] [--count 10000]`. Throughput: 20 senders in one process to one addressee in
another, until all are handled and removed. Round trip: a request and its reply, one after another. The reference adds
to a stream and reads it in batches: nothing is acknowledged, ordered per sender, limited or delivered again.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.lab.report import Row, Section, markdown
from benchmarks.lab.servers import Server
from benchmarks.peers.bare_peer import connect
from meshd.backends import BackendOptions, open_backend
from meshd.messages.model import Message
from meshd.messages.service import MessageOptions, Messages

SENDERS = 20
TEXT = "x" * 100
PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one system."""

    rate: float
    p50_ms: float
    p99_ms: float


async def messages_at(stack: AsyncExitStack, url: str, sender: str, *, is_heard: bool = False) -> Messages:
    backend = await open_backend(url, BackendOptions(mesh="bench"))
    stack.push_async_callback(backend.aclose)
    options = MessageOptions(inbox_limit=1_000_000)
    messages = Messages(backend.records, backend.events, sender=sender, options=options, is_heard=is_heard)
    stack.push_async_callback(messages.aclose)
    return messages


async def answer(url: str) -> None:
    """Be the other process: answer every ping, and say how many notes there were when asked for `count`."""
    async with AsyncExitStack() as stack:
        own = await messages_at(stack, url, "bob", is_heard=True)
        seen = 0

        async def handle(message: Message) -> None:
            nonlocal seen
            if message.type == "note":
                seen += 1
            else:
                await own.reply(message, message.payload if message.type == "ping" else seen)

        inbox = own.inbox(handle)
        inbox.start()
        stack.push_async_callback(inbox.aclose)
        inbox.hear(["bob"])
        await inbox.heard()
        await _until_told()


async def ours(url: str, count: int, trips: int) -> Run:
    async with AsyncExitStack() as stack:
        ada = await messages_at(stack, url, "ada")
        await ada.request("bob", "ping", timeout=PATIENCE)

        async def send(number: int) -> None:
            for _ in range(count // SENDERS):
                await ada.send("bob", "note", TEXT, sender=f"s{number}")

        began = time.perf_counter()
        await asyncio.gather(*map(send, range(SENDERS)))
        while await ada.request("bob", "count", timeout=PATIENCE) < count or await ada.waiting("bob"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        rate = count / (time.perf_counter() - began)
        return _run(rate, await _trips(lambda: ada.request("bob", "ping", TEXT, timeout=PATIENCE), trips))


async def answer_bare(url: str) -> None:
    async with connect(url) as client:
        last, seen = "0", 0
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ((_, entries),) = await client.xread({"to:bob": last}, count=100, block=60_000)
            for place, fields in entries:
                last = place
                kind = fields[b"t"]
                if kind == b"note":
                    seen += 1
                elif kind == b"end":
                    return
                else:
                    await client.xadd("to:ada", {"d": fields[b"d"] if kind == b"ping" else str(seen)})


async def bare(url: str, count: int, trips: int) -> Run:
    async with connect(url) as client, connect(url) as ear:
        last = "0"

        async def ask(kind: str) -> bytes:
            nonlocal last
            await client.xadd("to:bob", {"t": kind, "d": TEXT})
            ((_, ((last, fields),)),) = await ear.xread({"to:ada": last}, count=1, block=30_000)
            found: bytes = fields[b"d"]
            return found

        async def send() -> None:
            for _ in range(count // SENDERS):
                await client.xadd("to:bob", {"t": "note", "d": TEXT})

        began = time.perf_counter()
        await asyncio.gather(*[send() for _ in range(SENDERS)])
        while int(await ask("count")) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        rate = count / (time.perf_counter() - began)
        run = _run(rate, await _trips(lambda: ask("ping"), trips))
        await client.xadd("to:bob", {"t": "end"})
        return run


async def _trips(ask: Callable[[], Awaitable[Any]], trips: int) -> list[float]:
    found: list[float] = []
    for _ in range(trips):
        began = time.perf_counter()
        await ask()
        found.append((time.perf_counter() - began) * 1e3)
    return found


def _run(rate: float, trips: list[float]) -> Run:
    cuts = quantiles(trips, n=100)
    return Run(rate=rate, p50_ms=cuts[49], p99_ms=cuts[98])


async def _until_told() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


def measured(system: str, url: str, count: int, trips: int) -> Run:
    """Return what a system does with another process of its own."""
    command = [sys.executable, "-m", "benchmarks.messages", "--answer", system, "--url", url]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        return asyncio.run((bare if system == "bare" else ours)(url, count, trips))
    finally:
        if other.stdin is not None:
            other.stdin.close()
        other.wait(30)


def measure(folder: Path, *, rounds: int, count: int) -> Section:
    runs: dict[str, list[Run]] = {"meshd": [], "meshd on SQLite": [], "bare": []}
    for number in range(rounds):
        for system, found in runs.items():
            with Server(folder / f"redis-{number}-{system.split()[-1]}") as server:
                url = f"sqlite:///{folder / f'{number}.db'}" if "SQLite" in system else server.url
                found.append(measured(system, url, count, max(50, count // 10)))
    return Section(
        title="messages",
        rows=[
            Row(name="20 senders, one addressee", unit="messages/s", values=_of(runs, lambda run: run.rate)),
            Row(name="round trip, p50", unit="ms", values=_of(runs, lambda run: run.p50_ms)),
            Row(name="round trip, p99", unit="ms", values=_of(runs, lambda run: run.p99_ms)),
        ],
    )


def _of(runs: dict[str, list[Run]], figure: Callable[[Run], float]) -> dict[str, list[float]]:
    return {system: [figure(run) for run in found] for system, found in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.messages")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--answer", default="", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.answer:
        asyncio.run((answer_bare if wanted.answer == "bare" else answer)(wanted.url))
        return
    with TemporaryDirectory(prefix="meshd-bench-") as folder:
        print(markdown([measure(Path(folder), rounds=wanted.rounds, count=wanted.count)]))


if __name__ == "__main__":
    main()
