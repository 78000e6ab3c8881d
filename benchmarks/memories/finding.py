"""Finding a hundred differences among many items: what a replica that was away costs when it is back."""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.lab.report import Row, Section, at_most
from benchmarks.lab.servers import Server
from benchmarks.memories.drafts import batch
from benchmarks.memories.replicas import hub_at, replica

DIFFERENCES = 100
SIZES = (10_000, 100_000, 1_000_000)
NOTE = (
    "A replica that has everything is closed; a hundred new keys are written at the hub; it is opened and syncs. "
    "Bytes both ways at the server without the hundred versions themselves; milliseconds of the sync alone."
)


def _traffic(server: Server) -> int:
    """Return the bytes at the server so far; the next look adds what this one cost."""
    stats = server.client.info("stats")
    return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])


async def _found(server: Server, folder: Path, size: int) -> tuple[float, float]:
    async with hub_at(server.url) as backend:
        for first in range(1, size + 1, 100):
            await backend.memory.push(batch([f"k{n}" for n in range(first, first + 100)], actor="n1~a", first=first))
        async with replica(backend, folder, node="reader") as opened:
            await opened.sync()
        news = batch([f"new{n}" for n in range(DIFFERENCES)], actor="n1~a", first=size + 1)
        await backend.memory.push(news)
        async with replica(backend, folder, node="reader") as opened:
            asked, before, began = _traffic(server), _traffic(server), perf_counter()
            await opened.sync()
            spent, after = perf_counter() - began, _traffic(server)
            last = (await opened.read([f"new{DIFFERENCES - 1}"]))[0]
            if len(last) != 1:
                raise AssertionError("the sync did not bring the last difference")
    moved = after - before - (before - asked)
    return moved - sum(len(version.blob) for version in news.versions), spent * 1e3


def measure(rounds: int, scale: float) -> Section:
    rows: list[Row] = []
    for full in SIZES:
        size = max(1_000, int(full * scale) // 100 * 100)
        found: list[tuple[float, float]] = []
        for _ in range(1 if size > 200_000 else rounds):
            with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "redis") as server:
                found.append(asyncio.run(_found(server, Path(folder), size)))
        name = f"{DIFFERENCES} differences in {size:,}"
        sent = Row(name=name, unit="bytes", values={"meshd": [each[0] for each in found]})
        spent = Row(name=name, unit="ms", values={"meshd": [each[1] for each in found]})
        rows += [
            sent.judged(at_most(sent.middle(), 10_240, "< 10 KB")),
            spent.judged(at_most(spent.middle(), 20, "< 20 ms")),
        ]
    return Section(title="finding", rows=rows, notes=[NOTE])
