"""A node in a process of its own, which a test can also question while nothing passes between it and the store.

`python -m tests.partitions.node_process URL MESH NAME ADDRESS FOLDER`. Questions come through the socket `NAME.sock` in
the folder: files are the same in every network namespace.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshd import Mesh, Node, Settings, TaskContext
from meshd.tasks.routing import claimer_of
from tests.chaos.effects import EffectLog
from tests.chaos.history import Phase

Answer = Mapping[str, Any]


def settings_of(mesh: str, *, folder: Path, name: str = "", address: str = "") -> Settings:
    """Return the defaults, in a folder of the test's own."""
    return Settings.load(mesh=mesh, node_name=name, host=address, state_dir=str(folder / (name or "test")))


def make_node(name: str, *, folder: Path) -> Node:
    node = Node(name, concurrency=8, grace=timedelta(seconds=2))
    log = EffectLog(folder, life=name)

    def trace(phase: Phase, context: TaskContext) -> None:
        log.write(phase, task_id=context.task_id, token=context.token, attempt=context.attempt)

    @node.task("linger")
    async def linger(context: TaskContext, at: str, until: str) -> str:
        trace(Phase.START, context)
        while name == at and not await asyncio.to_thread(os.path.exists, until):
            await asyncio.sleep(0.05)
        trace(Phase.FINISH, context)
        return name

    @node.task("work")
    async def work(context: TaskContext, number: int = 0) -> int:
        trace(Phase.START, context)
        await asyncio.sleep(0.02)
        trace(Phase.FINISH, context)
        return number

    return node


class Questions:
    """What the node's process can be asked to try, with what came of it."""

    def __init__(self, node: Node, mesh: Mesh) -> None:
        self._node = node
        self._mesh = mesh

    def known(self) -> Mapping[str, Callable[..., Awaitable[object]]]:
        """Return what may be asked."""
        return {
            "write": self._write,
            "read": self._read,
            "claim": self._claim,
            "submit": self._submit,
            "commit": self._commit,
            "vote": self._vote,
            "lead": self._lead,
        }

    async def _write(self, key: str, value: object, strategy: str = "eventual") -> object:
        return (await self._node.memory.put(key, value, strategy=strategy)).key

    async def _read(self, key: str) -> object:
        entry = await self._node.memory.get(key)
        if entry is None:
            return None
        return {"value": entry.value, "is_stale": entry.is_stale, "silent_ms": entry.silent_ms}

    async def _claim(self) -> object:
        claimer = claimer_of(self._node.profile)
        return len((await self._mesh.backend.tasks.claim(claimer, limit=1, lease_ms=1_000)).tasks)

    async def _submit(self) -> object:
        return (await self._mesh.tasks.submit("work")).id

    async def _commit(self, key: str) -> object:
        return await self._mesh.records.put(key, b"{}", ttl_ms=60_000)

    async def _vote(self, proposal: str, voter: str) -> object:
        return (await self._mesh.votes.vote(proposal, voter, "yes")).state.value

    async def _lead(self, scope: str) -> object:
        async with self._mesh.votes.leader(scope, wait=timedelta(seconds=8)) as leadership:
            return leadership.token

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question: what is returned, or the name of the error raised, and how long it took."""
        question: dict[str, Any] = json.loads(await reader.readline())
        began = time.monotonic()
        try:
            answer: dict[str, Any] = {"value": await self.known()[question.pop("ask")](**question)}
        except Exception as exc:  # noqa: BLE001 -- the asker judges it
            answer = {"error": type(exc).__name__, "code": getattr(exc, "code", ""), "message": str(exc)}
        writer.write(json.dumps(answer | {"seconds": time.monotonic() - began}).encode() + b"\n")
        await writer.drain()
        writer.close()


async def live(url: str, mesh: str, name: str, address: str, folder: Path) -> None:
    """Run the node until it is told to stop."""
    settings = settings_of(mesh, folder=folder, name=name, address=address)
    node = make_node(name, folder=folder)
    async with Mesh(url, settings=settings) as opened:
        questions = Questions(node, opened)
        server = await asyncio.start_unix_server(questions.answer, folder / f"{name}.sock")
        async with server:
            await node.run(url, settings=settings)


def main(url: str, mesh: str, name: str, address: str, folder: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(live(url, mesh, name, address, Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
