"""What a heartbeat costs: beats per second one after another, and microseconds of the store's CPU per beat.

`python -m benchmarks.heartbeats [--rounds 3] [--count 3000]`; the reference is a bare pipeline of HSET and ZADD.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lab.report import Row, Section, markdown
from benchmarks.lab.servers import Server
from benchmarks.peers.bare_peer import connect
from benchmarks.peers.meshd_peer import opened
from meshd.nodes.model import NodeProfile, NodeStatus, Vitals

VITALS = Vitals(status=NodeStatus.ACTIVE, open_tasks=3, memory_mb=40.0, cpu_percent=1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """One run of heartbeats."""

    rate: float
    store_micros: float
    """Per beat; nothing where the store is this process."""


async def ours(url: str, server: Server, count: int) -> Beats:
    async with opened(url) as mesh:
        nodes = mesh.backend.nodes
        membership = await nodes.join(NodeProfile(id="beater"), VITALS)
        cpu, began = server.cpu_s(), time.perf_counter()
        for _ in range(count):
            await nodes.heartbeat(membership, VITALS)
        elapsed, used = time.perf_counter() - began, server.cpu_s() - cpu
        await nodes.leave(membership)
    return Beats(rate=count / elapsed, store_micros=used / count * 1e6)


async def reference(server: Server, count: int) -> Beats:
    async with connect(server.url) as client:
        cpu, began = server.cpu_s(), time.perf_counter()
        for number in range(count):
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.hset("bare:node", mapping={"status": "active", "open": 3, "memory": 40.0, "cpu": 1.5})
                pipeline.zadd("bare:beats", {"beater": number})
                await pipeline.execute()
        elapsed, used = time.perf_counter() - began, server.cpu_s() - cpu
    return Beats(rate=count / elapsed, store_micros=used / count * 1e6)


async def measure(folder: Path, server: Server, *, rounds: int, count: int) -> Section:
    runs: dict[str, list[Beats]] = {"meshd": [], "meshd on SQLite": [], "bare": []}
    for number in range(rounds):
        runs["meshd"].append(await ours(server.url, server, count))
        runs["meshd on SQLite"].append(await ours(f"sqlite:///{folder / f'{number}.db'}", server, count))
        runs["bare"].append(await reference(server, count))
    rates = {name: [beats.rate for beats in found] for name, found in runs.items()}
    micros = {name: [beats.store_micros for beats in found] for name, found in runs.items() if "SQLite" not in name}
    return Section(
        title="heartbeats",
        rows=[
            Row(name="one after another", unit="beats/s", values=rates),
            Row(name="Redis CPU per beat", unit="µs", values=micros),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heartbeats")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=3_000)
    wanted = parser.parse_args()
    with TemporaryDirectory(prefix="meshd-bench-") as folder, Server(Path(folder) / "redis") as server:
        print(markdown([asyncio.run(measure(Path(folder), server, rounds=wanted.rounds, count=wanted.count))]))


if __name__ == "__main__":
    main()
