"""Milliseconds from submit to handler start, and to the result, with everything else idle."""

import asyncio
import time
from datetime import timedelta

from benchmarks import bare
from benchmarks.harness import Bench, Row, main, p50, p99, settings, workers
from meshd import Mesh
from meshd.ids import new_id

PAUSE = 0.02


async def ours(url: str, count: int) -> list[tuple[float, float]]:
    """Return start and result latencies of `count` single tasks, one at a time."""
    name = f"bench-{new_id().lower()}"
    samples: list[tuple[float, float]] = []
    async with Mesh(url, settings=settings(name)) as mesh, workers(url, name, 1):
        for _ in range(count):
            await asyncio.sleep(PAUSE)
            began = time.time_ns()
            handle = await mesh.tasks.submit("stamp")
            started = await handle.result(timeout=timedelta(seconds=10))
            samples.append(((started - began) / 1e6, (time.time_ns() - began) / 1e6))
    return samples[count // 10 :]


async def reference(url: str, count: int) -> list[tuple[float, float]]:
    samples: list[tuple[float, float]] = []
    async with bare.echo_process(url), bare.connect(url) as redis:
        for _ in range(count):
            await asyncio.sleep(PAUSE)
            samples.append(await bare.round_trip(redis))
    return samples[count // 10 :]


async def measure(bench: Bench) -> list[Row]:
    count = bench.count(500)
    bare_samples = await reference(bench.redis_url, count)
    rows: list[Row] = []
    for backend in ("sqlite", "redis"):
        samples = await ours(bench.url(backend), count)
        for index, what in enumerate(("submit to start", "submit to result")):
            for label, of in (("p50", p50), ("p99", p99)):
                rows.append(
                    Row(
                        name=f"{backend}, {what}, {label}",
                        unit="ms",
                        ours=of([sample[index] for sample in samples]),
                        reference=of([sample[index] for sample in bare_samples]),
                        reference_name="bare XADD, blocking read, RPUSH, BLPOP",
                    )
                )
    return rows


if __name__ == "__main__":
    main("idle latency", measure)
