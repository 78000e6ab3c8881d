"""What a heartbeat costs: beats per second one after another, and microseconds of the store's CPU per beat."""

import time
from typing import Any

from benchmarks import bare
from benchmarks.harness import Bench, Row, main, p50, settings
from meshd import Mesh
from meshd.ids import new_id
from meshd.nodes.model import NodeProfile, NodeStatus, Vitals

VITALS = Vitals(status=NodeStatus.ACTIVE, open_tasks=3, memory_mb=40.0, cpu_percent=1.5)


async def store_cpu(url: str) -> float:
    """Return the CPU seconds redis-server has used."""
    async with bare.connect(url) as redis:
        info: dict[str, Any] = await redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def ours(bench: Bench, backend: str, count: int) -> tuple[float, float]:
    """Return beats/s and microseconds of store CPU per beat (0 where the store is this process)."""
    url = bench.url(backend)
    async with Mesh(url, settings=settings(f"bench-{new_id().lower()}")) as mesh:
        nodes = mesh.backend.nodes
        membership = await nodes.join(NodeProfile(id="beater"), VITALS)
        cpu, began = await store_cpu(bench.redis_url), time.perf_counter()
        for _ in range(count):
            await nodes.heartbeat(membership, VITALS)
        elapsed, used = time.perf_counter() - began, await store_cpu(bench.redis_url) - cpu
        await nodes.leave(membership)
    return count / elapsed, used / count * 1e6 if backend == "redis" else 0.0


async def reference(bench: Bench, count: int) -> tuple[float, float]:
    async with bare.connect(bench.redis_url) as redis:
        cpu, began = await store_cpu(bench.redis_url), time.perf_counter()
        for number in range(count):
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.hset("bare:node", mapping={"status": "active", "open": 3, "memory": 40.0, "cpu": 1.5})
                pipeline.zadd("bare:beats", {"beater": number})
                await pipeline.execute()
        elapsed, used = time.perf_counter() - began, await store_cpu(bench.redis_url) - cpu
    return count / elapsed, used / count * 1e6


async def measure(bench: Bench) -> list[Row]:
    count = bench.count(3_000)
    references = [await reference(bench, count) for _ in range(bench.rounds)]
    bare_rate, bare_cpu = p50([rate for rate, _ in references]), p50([cpu for _, cpu in references])
    rows: list[Row] = []
    for backend in ("sqlite", "redis"):
        measured = [await ours(bench, backend, count) for _ in range(bench.rounds)]
        rate, cpu = p50([rate for rate, _ in measured]), p50([cpu for _, cpu in measured])
        name = "bare pipeline of HSET + ZADD"
        rows.append(
            Row(
                name=f"{backend}, one after another",
                unit="beats/s",
                ours=rate,
                reference=bare_rate,
                reference_name=name,
            )
        )
        if backend == "redis":
            rows.append(
                Row(name="redis, store CPU per beat", unit="µs", ours=cpu, reference=bare_cpu, reference_name=name)
            )
    return rows


if __name__ == "__main__":
    main("heartbeat cost", measure)
