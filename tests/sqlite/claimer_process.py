"""A process of its own that works on a store: `claimer_process.py work|wait URL NODE`.

`work` completes tasks until none is ready and prints their ids; `wait` registers, says `waiting`, and after its bell
rang says so and how many tasks it got.
"""

import asyncio
import sys

from meshd.backends import Backend, open_backend
from meshd.tasks.model import Completed, Hold, Outcome
from tests.support.builders import a_claimer, claim_all

LONG_MS = 30_000


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def work(backend: Backend, node_id: str) -> None:
    while claimed := await claim_all(backend, a_claimer(node_id), limit=7):
        holds = [Hold(task_id=task.id, token=task.token) for task in claimed]
        assert set(await backend.tasks.start(holds)) == {Outcome.OK}
        ended = await backend.tasks.finish([Completed(hold=hold, result=b"1") for hold in holds])
        assert set(ended) == {Outcome.OK}
        for hold in holds:
            say(hold.task_id)


async def wait(backend: Backend, node_id: str) -> None:
    claimer = a_claimer(node_id)
    assert not await claim_all(backend, claimer, limit=1)
    say("waiting")
    wake = await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS)
    claimed = await claim_all(backend, claimer, limit=1)
    say(f"{'rung' if wake.rang else 'late'} {len(claimed)}")


async def main(job: str, url: str, node_id: str) -> None:
    backend = await open_backend(url)
    await (work if job == "work" else wait)(backend, node_id)
    await backend.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
