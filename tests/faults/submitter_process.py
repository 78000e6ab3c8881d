"""Clients in processes of their own: `python -m tests.faults.submitter_process URL MESH KEYS SEED…`, one for each seed.

Each submits every key once, a batch at a time until it is acknowledged. Then the tasks that each was told of are
printed, in the order of the keys. The processes are forked, so that what they import is imported once.
"""

import asyncio
import json
import sys
from multiprocessing import get_context
from random import Random

from meshd import Mesh, Settings
from meshd.tasks.request import TaskRequest
from tests.chaos.client import persistently


async def submit(url: str, mesh_name: str, *, keys: int, seed: int) -> list[str]:
    rng = Random(seed)
    order = rng.sample(range(keys), keys)
    found: dict[int, str] = {}
    async with Mesh(url, settings=Settings.load(mesh=mesh_name, store_timeout_seconds=30)) as mesh:
        while order:
            batch, order = order[: (size := rng.randint(1, 200))], order[size:]
            requests = [
                TaskRequest(type="nobody", payload={"number": number}, idempotency_key=f"key {number}")
                for number in batch
            ]
            handles = await persistently(lambda: mesh.tasks.submit_many(requests))  # noqa: B023 -- awaited at once
            found.update(zip(batch, (handle.id for handle in handles), strict=True))
    return [found[number] for number in range(keys)]


def told(url: str, mesh_name: str, keys: int, seed: int) -> list[str]:
    return asyncio.run(submit(url, mesh_name, keys=keys, seed=seed))


if __name__ == "__main__":
    url, mesh_name, keys, *seeds = sys.argv[1:]
    with get_context("fork").Pool(len(seeds), maxtasksperchild=1) as pool:
        everybody = [(url, mesh_name, int(keys), int(seed)) for seed in seeds]
        sys.stdout.write(json.dumps(pool.starmap(told, everybody, chunksize=1)))
