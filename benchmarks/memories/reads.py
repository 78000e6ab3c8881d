"""Reading one key of a replica, with the check that a session sees nothing older, beside an awaited Redis GET."""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

import redis.asyncio as driver

from benchmarks.lab.report import Row, Section, at_least, at_most
from benchmarks.lab.servers import Server
from benchmarks.memories.drafts import BODY
from benchmarks.memories.replicas import hub_at, replica, write

KEYS = 10_000
READS = 200_000
GETS = 5_000
LOOK, AWAITED, GET = "peek", "awaited read", "redis-py GET"
NOTE = "10,000 keys of 395 bytes; microseconds per read, the loop around it included; values are not decoded."


async def _times(server: Server, folder: Path, scale: float) -> dict[str, float]:
    found: dict[str, float] = {}
    reads, gets = int(READS * scale), int(GETS * scale)
    async with hub_at(server.url) as backend, replica(backend, folder, node="n1") as opened:
        await write(opened, "k", KEYS)
        keys = [f"k/{number * 7 % KEYS}" for number in range(reads)]
        await opened.read([f"k/{number}" for number in range(KEYS)])
        session = await opened.session()
        began = perf_counter()
        for key in keys:
            opened.peek(key, session=session)
        found[LOOK] = (perf_counter() - began) * 1e6 / reads
        began = perf_counter()
        for key in keys:
            await opened.read((key,), session=session)
        found[AWAITED] = (perf_counter() - began) * 1e6 / reads
    client = driver.Redis(port=server.address[1])
    await client.set("k", BODY)
    began = perf_counter()
    for _ in range(gets):
        await client.get("k")
    found[GET] = (perf_counter() - began) * 1e6 / gets
    await client.aclose()
    return found


def measure(rounds: int, scale: float) -> Section:
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "redis") as server:
            for name, each in asyncio.run(_times(server, Path(folder), scale)).items():
                values.setdefault(name, []).append(each)
    row = Row(name="one key", unit="µs", values=values)
    look, get = row.middle(LOOK), row.middle(GET)
    ratio = None if look is None or get is None else get / look
    return Section(
        title="reads",
        rows=[row.judged(at_most(look, 1, "< 1 µs"), at_least(ratio, 100, "≥ 100 × as quick as GET"))],
        notes=[NOTE],
    )
