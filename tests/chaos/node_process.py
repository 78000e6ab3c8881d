"""A node in its own process, whose handlers leave a trace of every effect.

`python -m tests.chaos.node_process URL MESH LIFE DIRECTORY CONCURRENCY`; a life is the node's name, a dot and a number.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from meshd import Node, Reject, Retry, TaskContext
from tests.chaos.effects import EffectLog
from tests.chaos.history import Phase
from tests.chaos.work import brisk_settings

Done = dict[str, int]


def make_node(life: str, *, directory: Path, concurrency: int) -> Node:
    node = Node(life.rpartition(".")[0], concurrency=concurrency)
    log = EffectLog(directory, life=life)

    def trace(phase: Phase, context: TaskContext) -> None:
        log.write(phase, task_id=context.task_id, token=context.token, attempt=context.attempt)

    @node.task("short")
    async def short(number: int, ms: float, context: TaskContext) -> Done:
        trace(Phase.START, context)
        await asyncio.sleep(ms / 1000)
        trace(Phase.FINISH, context)
        return {"number": number, "token": context.token}

    @node.task("slow")
    def slow(number: int, ms: float, context: TaskContext) -> Done:
        trace(Phase.START, context)
        time.sleep(ms / 1000)
        trace(Phase.FINISH, context)
        return {"number": number, "token": context.token}

    @node.task("flaky")
    async def flaky(number: int, ms: float, context: TaskContext) -> Done:
        trace(Phase.START, context)
        await asyncio.sleep(ms / 1000)
        if context.attempt == 1:
            raise Retry("once more", delay=timedelta(milliseconds=20))
        trace(Phase.FINISH, context)
        return {"number": number, "token": context.token}

    @node.task("doomed")
    async def doomed(number: int, ms: float, context: TaskContext) -> None:
        trace(Phase.START, context)
        await asyncio.sleep(ms / 1000)
        raise Reject(f"number {number} is doomed")

    @node.task("poison")
    async def poison(number: int, context: TaskContext) -> None:
        trace(Phase.START, context)
        await asyncio.sleep(number % 5 / 100)
        os.kill(os.getpid(), signal.SIGKILL)

    return node


def main(url: str, mesh: str, life: str, directory: str, concurrency: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    node = make_node(life, directory=Path(directory), concurrency=int(concurrency))
    asyncio.run(node.run(url, settings=brisk_settings(mesh)))


if __name__ == "__main__":
    main(*sys.argv[1:])
