"""A replica in a process of its own: `python -m tests.memory_sync.node_process URL MESH NODE FILE COUNT`.

It writes COUNT keys `NODE/<number>`, as fast as it may, and says each number once the write is acknowledged; then, and
if COUNT is 0 at once, it says `ready` and stays in step until its input ends. It answers the line `sync` with the
JSON of its state after a sync, and `get KEY` with the JSON of the live texts.
"""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import msgspec

from meshd.backends import BackendOptions, open_backend
from meshd.memory.replication.replica import Replica
from tests.memory_sync.replicas import put, replica_of, texts

WRITERS = 8


async def main(url: str, mesh: str, node: str, file: str, count: int) -> None:
    backend = await open_backend(url, BackendOptions(mesh=mesh))
    try:
        async with replica_of(backend, Path(file), node=node) as replica:
            numbers = iter(range(count))
            await asyncio.gather(*[_write(replica, node, numbers) for _ in range(WRITERS)])
            _say("ready")
            await _serve(replica)
    finally:
        await backend.aclose()


async def _write(replica: Replica, node: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        await put(replica, f"{node}/{number}", str(number))
        _say(str(number))


async def _serve(replica: Replica) -> None:
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        if line[0] == "sync":
            found = await replica.sync()
            _say(msgspec.json.encode({"is_equal": found.is_equal, **asdict(replica.state)}).decode())
        else:
            _say(msgspec.json.encode(list(await texts(replica, line[1]))).decode())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
