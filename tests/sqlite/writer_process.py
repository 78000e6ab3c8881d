"""A process of its own that writes until it is killed: `writer_process.py URL NODE`.

It submits, claims, starts and completes, and says each id it was given a receipt for, then each it completed.
"""

import asyncio
import sys

from meshd.backends import open_backend
from meshd.tasks.model import Outcome
from tests.support.builders import a_claimer, a_task, claim_all, completed, hold_of


def say(verb: str, task_id: str) -> None:
    sys.stdout.write(f"{verb} {task_id}\n")
    sys.stdout.flush()


async def main(url: str, node_id: str) -> None:
    backend = await open_backend(url)
    while True:
        for receipt in await backend.tasks.submit([a_task() for _ in range(10)]):
            say("submitted", receipt.task_id)
        held = await claim_all(backend, a_claimer(node_id), limit=8)
        await backend.tasks.start([hold_of(task) for task in held])
        outcomes = await backend.tasks.finish([completed(task) for task in held])
        for task, outcome in zip(held, outcomes, strict=True):
            if outcome is Outcome.OK:
                say("completed", task.id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
