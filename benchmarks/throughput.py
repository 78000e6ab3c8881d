"""Tasks per second through submit → claim → start → run → complete, with one and two worker processes.

The queue is filled first; the rate is tasks over the time from the first start to the last end, by the store's clock.
"""

import time

from benchmarks import bare
from benchmarks.harness import Bench, Row, main, p50, settings, workers
from meshd import Mesh, TaskRequest, TaskState
from meshd.ids import new_id
from meshd.tasks.store import MAX_BATCH
from tests.support.waiting import wait_until

PAYLOAD = {"n": 1}


async def run_once(url: str, *, count: int, processes: int) -> tuple[float, float]:
    """Return tasks/s submitted by one producer and tasks/s completed by the workers."""
    name = f"bench-{new_id().lower()}"
    async with Mesh(url, settings=settings(name)) as mesh:
        requests = [TaskRequest(type="noop", payload=PAYLOAD)] * count
        began = time.perf_counter()
        handles = await mesh.tasks.submit_many(requests)
        submitted = count / (time.perf_counter() - began)
        async with workers(url, name, processes):
            await wait_until(lambda: _are_done(mesh, count), timeout=600, pause=0.05)
        return submitted, count / await _seconds(mesh, [handle.id for handle in handles])


async def _are_done(mesh: Mesh, count: int) -> bool:
    return (await mesh.tasks.counts())[TaskState.COMPLETED] >= count


async def _seconds(mesh: Mesh, ids: list[str]) -> float:
    """Return the time from the first start to the last end, by the store's clock."""
    started, finished = 2**63, 0
    for batch in range(0, len(ids), MAX_BATCH):
        for task in await mesh.backend.tasks.get(ids[batch : batch + MAX_BATCH]):
            if task is not None and task.started_ms is not None and task.finished_ms is not None:
                started, finished = min(started, task.started_ms), max(finished, task.finished_ms)
    return (finished - started) / 1000


async def measure(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    reference = p50([await bare.loop_rate(bench.redis_url, bench.count(20_000)) for _ in range(bench.rounds)])
    for backend, full in (("sqlite", 5_000), ("redis", 20_000)):
        for processes in (1, 2):
            rates = [
                await run_once(bench.url(backend), count=bench.count(full), processes=processes)
                for _ in range(bench.rounds)
            ]
            rows.append(_row(f"{backend}, {processes} worker process(es)", p50([rate[1] for rate in rates]), reference))
        rows.append(_row(f"{backend}, submit_many", p50([rate[0] for rate in rates]), reference))
    return rows


def _row(name: str, ours: float, reference: float) -> Row:
    return Row(
        name=name, unit="tasks/s", ours=ours, reference=reference, reference_name="bare redis-py loop, no leases"
    )


if __name__ == "__main__":
    main("task throughput", measure)
