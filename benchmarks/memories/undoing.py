"""One agent spoiled a tenth of a memory: seconds until every value is back, seen from a client without a replica."""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from time import perf_counter, process_time

from benchmarks.lab.contenders import MESHD
from benchmarks.lab.report import Row, Section, at_most
from benchmarks.lab.servers import Server
from benchmarks.memories.drafts import SEAL, VALUE, batch_of, version
from benchmarks.memories.replicas import hub_at
from meshd import codec
from meshd.memory.access import Author
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import MAX_BATCH
from meshd.memory.prefixes import Rules
from meshd.memory.service import Memory
from meshd.memory.store import MemoryStore
from meshd.memory.undo import Scope

ITEMS = 100_000
SPOILED_EVERY = 10
AGENT = "vandal"
NOTE = (
    "Undo: a hub on Redis with 100,000 keys of 395 bytes, every tenth then overwritten by one agent; one call of "
    "`rollback_by` by a client without a replica. Afterwards every key has its value. The dry run only looks."
)
UNITS: Mapping[str, str] = {
    "undo of 10,000 writes among 100,000": "s",
    "dry run": "s",
    "undo, CPU of the client": "s",
    "undo, CPU of the server": "s",
}


async def _spoil(store: MemoryStore, count: int) -> None:
    """Write the keys, then every tenth of them again as another agent."""
    keys = [f"notes/{number:06}" for number in range(count)]
    for first in range(0, count, MAX_BATCH):
        some = keys[first : first + MAX_BATCH]
        await store.push(
            batch_of([version(key, actor="good~1", seq=first + 1 + at, agent="good") for at, key in enumerate(some)])
        )
    body = codec.encode({**VALUE, "text": "nonsense"})
    spoiled = [
        version(
            keys[at], actor="bad~1", seq=1 + at // SPOILED_EVERY, agent=AGENT, observed={"good~1": at + 1}, body=body
        )
        for at in range(0, count, SPOILED_EVERY)
    ]
    for first in range(0, len(spoiled), MAX_BATCH):
        await store.push(batch_of(spoiled[first : first + MAX_BATCH]))


async def undone(server: Server, scale: float) -> list[float]:
    """Return the figures of one undo, in the order of `UNITS`."""
    count = max(MAX_BATCH, int(ITEMS * scale))
    async with hub_at(server.url) as backend:
        await _spoil(backend.memory, count)
        async with aclosing(HubAccess(backend.memory, SEAL)) as access:
            memory = Memory.over(access, rules=Rules(), author=Author(node="desk"))
            began = perf_counter()
            await memory.rollback_by(Scope(agent=AGENT), dry_run=True)
            looked = perf_counter() - began
            began, own_s, server_s = perf_counter(), process_time(), server.cpu_s()
            report = await memory.rollback_by(Scope(agent=AGENT))
            spent = perf_counter() - began
            own_s, server_s = process_time() - own_s, server.cpu_s() - server_s
            right = [entry for entry in await memory.list(limit=count + 1) if entry.value == VALUE]
    if len(report.undone) != len(range(0, count, SPOILED_EVERY)) or report.skipped or len(right) != count:
        raise AssertionError(f"{len(report.undone)} undone, {len(report.skipped)} skipped, {len(right)} right")
    return [spent, looked, own_s, server_s]


def measure(rounds: int, scale: float) -> Section:
    found: list[list[float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
            found.append(asyncio.run(undone(server, scale)))
    undo, *rest = [
        Row(name=name, unit=unit, values={MESHD: [figures[at] for figures in found]})
        for at, (name, unit) in enumerate(UNITS.items())
    ]
    return Section(title="undoing", rows=[undo.judged(at_most(undo.middle(), 2, "< 2 s")), *rest], notes=[NOTE])
