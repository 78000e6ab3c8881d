"""What was written on both sides of a cut, and a hub that lost everything: seconds until all is equal again."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

from benchmarks.lab.report import Row, Section, at_most
from benchmarks.lab.servers import Server
from benchmarks.memories.replicas import hub_at, replica, write
from meshd.memory.replication.replica import Replica
from tests.support.proxy import proxied

APART = 10_000
ITEMS = 100_000
NOTE = (
    "Heal: two replicas, one cut off; 10,000 new keys on each side; from the mend to equal digests. Lost: a hub "
    "of 100,000 items is flushed while both replicas go on writing; from the flush to equal digests, nothing missing."
)


async def _until_equal(replicas: Sequence[Replica]) -> None:
    while True:
        rounds = [await each.sync() for each in replicas]
        if all(each.is_equal for each in rounds):
            return


async def healed(server: Server, folder: Path, scale: float) -> float:
    """Return the seconds from the mend of a cut to equality."""
    count = int(APART * scale)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(server.address[1]))
        near = await stack.enter_async_context(hub_at(server.url))
        far = await stack.enter_async_context(hub_at(proxy.url))
        one = await stack.enter_async_context(replica(near, folder, node="near"))
        other = await stack.enter_async_context(replica(far, folder, node="far"))
        await _until_equal([one, other])
        await proxy.cut()
        await asyncio.gather(write(one, "near", count), write(other, "far", count))
        await one.sync()
        await proxy.mend()
        began = perf_counter()
        await _until_equal([other, one])
        return perf_counter() - began


async def refilled(server: Server, folder: Path, scale: float) -> float:
    """Return the seconds from a FLUSHALL to equality with everything there."""
    count = int(ITEMS * scale)
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(hub_at(server.url))
        one = await stack.enter_async_context(replica(backend, folder, node="one"))
        other = await stack.enter_async_context(replica(backend, folder, node="other"))
        await write(one, "kept", count)
        await _until_equal([one, other])
        writing = asyncio.create_task(write(other, "meanwhile", 1_000))
        server.client.flushall()
        began = perf_counter()
        await writing
        await _until_equal([one, other])
        spent = perf_counter() - began
        found = (await backend.memory.clock()).items
        if found != count + 1_000:
            raise AssertionError(f"the hub has {found} of {count + 1_000}")
        return spent


def measure(rounds: int, scale: float) -> Section:
    heals: list[float] = []
    refills: list[float] = []
    for _ in range(rounds):
        for run, spent in ((healed, heals), (refilled, refills)):
            with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "redis") as server:
                spent.append(asyncio.run(run(server, Path(folder), scale)))
    heal = Row(name="10,000 + 10,000 writes apart", unit="s", values={"meshd": heals})
    lost = Row(name="FLUSHALL of a hub of 100,000", unit="s", values={"meshd": refills})
    return Section(
        title="healing",
        rows=[heal.judged(at_most(heal.middle(), 1.5, "< 1.5 s")), lost.judged(at_most(lost.middle(), 5, "< 5 s"))],
        notes=[NOTE],
    )
