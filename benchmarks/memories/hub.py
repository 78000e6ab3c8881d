"""Writes at the hub by one client, singly and by 100, beside a script that does the least a hub could do."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import redis.asyncio as driver

from benchmarks.lab.contenders import BARE, MESHD
from benchmarks.lab.report import Row, Section, at_least, times
from benchmarks.lab.servers import Server, cpu_of
from benchmarks.memories.drafts import batch
from meshd.backends import BackendOptions, open_backend

KEYS = 2_000
SINGLY = 6_000
BY_HUNDRED = 60_000
NOTE = (
    "One client, 2,000 keys of 395 bytes written over and over. The bare script compares a number, sets, moves "
    "two sums, adds to a capped stream and publishes: no siblings, tombstones, history, fences, limits or order of "
    "changes. Making and sealing the versions is counted for meshd."
)
SCRIPT = """
for at = 1, #ARGV, 3 do
  local key, number, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local kept = redis.call('GET', 'i:' .. key)
  if not kept or tonumber(string.sub(kept, 1, 12)) < tonumber(number) then
    redis.call('SET', 'i:' .. key, string.format('%012d', number) .. value)
    local bucket = '#' .. tonumber(string.sub(redis.sha1hex(key), 1, 3), 16)
    redis.call('BITFIELD', 'dg', 'OVERFLOW', 'WRAP', 'INCRBY', 'i64', bucket, -1, 'INCRBY', 'i64', bucket, number)
    redis.call('XADD', 'log', 'MAXLEN', '~', 250000, '*', 'k', key, 'v', value)
    redis.call('PUBLISH', 'ch', value)
  end
end
return 'ok'
"""


async def _bare(server: Server, *, count: int, size: int) -> None:
    client = driver.Redis(port=server.address[1])
    script = cast("Callable[..., Awaitable[Any]]", client.register_script(SCRIPT))
    value = "x" * 395
    for first in range(1, count + 1, size):
        numbers = range(first, first + size)
        await script(args=[part for number in numbers for part in (f"k{number % KEYS}", number, value)])
    await client.aclose()


async def _meshd(server: Server, *, count: int, size: int) -> None:
    backend = await open_backend(server.url, BackendOptions())
    for first in range(1, count + 1, size):
        keys = [f"k{number % KEYS}" for number in range(first, first + size)]
        pushed = await backend.memory.push(batch(keys, actor="n1~bench", first=first))
        if pushed.seq != first + size - 1:
            raise AssertionError(f"the hub took {pushed.seq} of {first + size - 1}: {pushed.replies}")
    await backend.aclose()


WRITERS: dict[str, Callable[..., Awaitable[None]]] = {MESHD: _meshd, BARE: _bare}


def writes(name: str, *, count: int, size: int) -> tuple[float, float]:
    """Return items written per second, and CPU-seconds of the server per 10,000."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        pid = int(server.client.info("server")["process_id"])
        cpu, began = cpu_of(pid), perf_counter()
        asyncio.run(cast("Any", WRITERS[name](server, count=count, size=size)))
        return count / (perf_counter() - began), (cpu_of(pid) - cpu) * 10_000 / count


def measure(rounds: int, scale: float) -> Section:
    rows: list[Row] = []
    for title, count, size, bar in (("singly", SINGLY, 1, 4_000), ("by 100", BY_HUNDRED, 100, 20_000)):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in WRITERS}
        for _ in range(rounds):
            for name in WRITERS:
                found[name].append(writes(name, count=max(size, int(count * scale) // size * size), size=size))
        rate = Row(name=title, unit="items/s", values={name: [each[0] for each in got] for name, got in found.items()})
        cost = Row(
            name=title, unit="server CPU-s per 10k", values={n: [each[1] for each in got] for n, got in found.items()}
        )
        bare = times(0.6, rate.middle(BARE))
        rows += [
            rate.judged(
                at_least(rate.middle(), bar, f"≥ {bar:,}"), at_least(rate.middle(), bare, "≥ .6 × the bare script")
            ),
            cost,
        ]
    return Section(title="hub", rows=rows, notes=[NOTE])
