"""A process of its own that writes to the memory until it is killed: `memory_process.py hub|replica STORE ACTOR`.

It says each number it was answered for; at a hub it goes on from where the store has its actor.
"""

import asyncio
import sys
from pathlib import Path

from meshd.backends import open_backend, open_replica
from meshd.clock import system_clock
from meshd.memory.model import Applied, Batch
from meshd.memory.store import MemoryStore
from tests.support.memory import Writer, batch_of, words


async def write(store: MemoryStore, actor: str) -> None:
    found = await store.push(Batch(actor=actor, first=1 << 50, last=1 << 50, versions=[]))
    writer = Writer(actor, system_clock, seq=found.seq)
    while True:
        versions = [writer.put(f"{actor}/{(writer.seq + 1) % 50}") for _ in range(3)]
        pushed = await store.push(batch_of(*versions))
        assert set(words(pushed.replies)) == {Applied.APPLIED}
        sys.stdout.write(f"{pushed.seq}\n")
        sys.stdout.flush()


async def main(job: str, store: str, actor: str) -> None:
    if job == "hub":
        await write((await open_backend(store)).memory, actor)
    else:
        await write((await open_replica(Path(store))).store, actor)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
