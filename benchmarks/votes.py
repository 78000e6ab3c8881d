"""What a vote costs: the time of one, beside the two bare round trips it is made of (a read, a compare-and-set).

`python -m benchmarks.votes [--rounds 3] [--count 1000]`; each vote is the next of an electorate of ten.
"""

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lab.report import Row, Section, at_most, markdown
from benchmarks.lab.servers import Server
from benchmarks.peers.bare_peer import connect
from benchmarks.peers.meshd_peer import opened
from meshd.votes.model import Quorum

ELECTORS = tuple(f"agent-{number}" for number in range(10))
GOAL_MS = 1.0
SWAP = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('SET', KEYS[1], ARGV[2], 'PX', 60000) end"
BODY = b"x" * 600
"""As large as the record of a proposal with half of its votes."""


async def timed(count: int, step: Callable[[int], Awaitable[object]]) -> list[float]:
    """Return how long each of `count` steps took, in milliseconds, shortest first."""
    times: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        await step(number)
        times.append((time.perf_counter() - began) * 1_000)
    return sorted(times)


async def ours(url: str, count: int, *, prefix: str = "") -> list[float]:
    """Votes of which none decides: all that is measured is a vote."""
    async with opened(url) as mesh:
        proposals = -(-count // len(ELECTORS))
        for number in range(proposals):
            await mesh.votes.propose(
                {"n": number},
                id=f"{prefix}{number}",
                electorate=(*ELECTORS, "silent"),
                quorum=Quorum(permil=1_000),
                timeout=timedelta(minutes=10),
            )
        return await timed(
            count,
            lambda number: mesh.votes.vote(f"{prefix}{number // 10}", ELECTORS[number % 10], True, reason="fine"),
        )


async def bare_redis(server: Server, count: int) -> list[float]:
    async with connect(server.url) as client:
        await client.set("bare:record", BODY)
        swap = client.register_script(SWAP)

        async def vote(_number: int) -> None:
            found = await client.get("bare:record")
            await swap(keys=["bare:record"], args=[found, BODY])

        return await timed(count, vote)


async def bare_sqlite(file: Path, count: int) -> list[float]:
    """A read and a transaction that swaps, both off the event loop, as any backend must."""
    with closing(sqlite3.connect(file, check_same_thread=False, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE record (key TEXT PRIMARY KEY, value BLOB, revision INTEGER)")
        connection.execute("INSERT INTO record VALUES ('p', ?, 0)", (BODY,))

        def read() -> int:
            return int(connection.execute("SELECT revision, value FROM record WHERE key = 'p'").fetchone()[0])

        def swap(revision: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "UPDATE record SET value = ?, revision = revision + 1 WHERE key = 'p' AND revision = ?",
                (BODY, revision),
            )
            connection.execute("COMMIT")

        async def vote(_number: int) -> None:
            await asyncio.to_thread(swap, await asyncio.to_thread(read))

        return await timed(count, vote)


def percentile(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))]


async def measure(folder: Path, server: Server, *, rounds: int, count: int) -> Section:
    runs: dict[str, list[list[float]]] = {"meshd": [], "bare": [], "meshd on SQLite": [], "bare SQLite": []}
    for number in range(rounds):
        runs["meshd"].append(await ours(server.url, count, prefix=f"r{number}-"))
        runs["bare"].append(await bare_redis(server, count))
        runs["meshd on SQLite"].append(await ours(f"sqlite:///{folder / f'{number}.db'}", count))
        runs["bare SQLite"].append(await bare_sqlite(folder / f"bare{number}.db", count))
    rows = [
        Row(
            name=f"one vote, p{round(share * 100)}",
            unit="ms",
            values={name: [percentile(times, share) for times in found] for name, found in runs.items()},
        )
        for share in (0.5, 0.99)
    ]
    middle = rows[0].middle()
    rows[0] = rows[0].judged(at_most(middle, GOAL_MS, f"p50 <= {GOAL_MS:g} ms on Redis"))
    ratios = {name: rows[0].middle(name) for name in runs}
    notes = [
        f"p50 is {ours_ms / bare_ms:.2f} times two bare round trips on {store}"
        for store, ours_ms, bare_ms in (
            ("Redis", ratios["meshd"], ratios["bare"]),
            ("SQLite", ratios["meshd on SQLite"], ratios["bare SQLite"]),
        )
        if ours_ms is not None and bare_ms
    ]
    return Section(title="votes", rows=rows, notes=notes)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.votes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1_000)
    wanted = parser.parse_args()
    with TemporaryDirectory(prefix="meshd-bench-") as folder, Server(Path(folder) / "redis") as server:
        print(markdown([asyncio.run(measure(Path(folder), server, rounds=wanted.rounds, count=wanted.count))]))


if __name__ == "__main__":
    main()
