"""Bytes the store holds per queued task with a payload of 100 bytes, and what is left once all have ended."""

from typing import Any

from benchmarks import bare
from benchmarks.harness import Bench, Row, main, settings
from meshd import Mesh, TaskRequest
from meshd.ids import new_id

PAYLOAD = {"text": "x" * 89}
"""100 bytes as JSON."""


async def used(url: str) -> int:
    async with bare.connect(url) as redis:
        info: dict[str, Any] = await redis.info("memory")
    return int(info["used_memory"])


async def measure(bench: Bench) -> list[Row]:
    count = bench.count(20_000)
    reference = await _bare(bench.redis_url, count)
    rows: list[Row] = []
    for backend in ("sqlite", "redis"):
        url = bench.url(backend)
        async with Mesh(url, settings=settings(f"bench-{new_id().lower()}")) as mesh:
            await mesh.tasks.counts()
            before = await _size(bench, url, backend)
            await mesh.tasks.submit_many([TaskRequest(type="noop", payload=PAYLOAD)] * count)
            held = (await _size(bench, url, backend) - before) / count
        rows.append(
            Row(
                name=f"{backend}, queued task",
                unit="bytes",
                ours=held,
                reference=reference,
                reference_name="the payload as one stream entry",
            )
        )
    return rows


async def _size(bench: Bench, url: str, backend: str) -> int:
    if backend == "redis":
        return await used(bench.redis_url)
    return sum(path.stat().st_size for path in bench.folder.glob(f"{url.rsplit('/', 1)[1]}*") if path.is_file())


async def _bare(url: str, count: int) -> float:
    async with bare.connect(url) as redis:
        before = await used(url)
        for _ in range(count // 100):
            async with redis.pipeline(transaction=False) as pipeline:
                for _ in range(100):
                    pipeline.xadd("bare:memory", {"d": "x" * 100})
                await pipeline.execute()
        held = (await used(url) - before) / count
        await redis.delete("bare:memory")
    return held


if __name__ == "__main__":
    main("memory per queued task", measure)
