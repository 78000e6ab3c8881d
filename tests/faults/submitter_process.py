"""A client in its own process: `python -m tests.faults.submitter_process URL MESH KEYS SEED` submits every key once.

It sends each batch until it is acknowledged, then prints the task of each key, in the order of the keys.
"""

import asyncio
import json
import sys
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


if __name__ == "__main__":
    url, mesh_name, keys, seed = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(submit(url, mesh_name, keys=int(keys), seed=int(seed)))))
