"""A process of its own that claims in competition: `contender_process.py URL NODE TASKS`.

It submits its tasks one by one, works on whatever it gets, and prints its claim times in ms, then what went wrong.
"""

import asyncio
import json
import sys
import time

from meshd.backends import open_backend
from meshd.errors import MeshError
from tests.support.builders import LEASE_MS, a_claimer, a_task, completed, hold_of


async def main(url: str, node_id: str, tasks: int) -> None:
    backend = await open_backend(url)
    claims: list[float] = []
    errors: list[str] = []
    for _ in range(tasks):
        try:
            await backend.tasks.submit([a_task()])
            asked = time.perf_counter()
            held = (await backend.tasks.claim(a_claimer(node_id), limit=1, lease_ms=LEASE_MS)).tasks
            claims.append((time.perf_counter() - asked) * 1000)
            await backend.tasks.start([hold_of(task) for task in held])
            await backend.tasks.finish([completed(task) for task in held])
        except MeshError as exc:
            errors.append(repr(exc))
    await backend.aclose()
    sys.stdout.write(json.dumps({"claims": claims, "errors": errors}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
