"""From a write on one node to its commit in the files of ten others, each a process: 200 writes a second."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from time import monotonic, monotonic_ns

from benchmarks.lab.report import Row, Section, at_most
from benchmarks.lab.servers import Server
from benchmarks.memories.replicas import draft, hub_at, replica
from meshd.memory.model import AT_ONCE, Strategy

REPLICAS = 10
RATE = 200
SECONDS = 10
NOTE = (
    "Milliseconds from before the write to after the change was seen in another process, its SQLite commit and the "
    "writer's own included; priority 8, which is sent at once. The machine's monotonic clock; all on its cores."
)


async def follow(url: str, folder: Path, node: str, writes: int) -> None:
    """Print how old each change was when it was seen."""
    ages: list[float] = []
    async with hub_at(url) as backend, replica(backend, folder, node=node) as opened:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        async for key, item in opened.changes("spread/"):
            seen = monotonic_ns()
            ages += [(seen - int(version.body)) / 1e6 for version in item]
            if key == f"spread/{writes - 1}":
                break
    sys.stdout.write(" ".join(f"{age:.3f}" for age in ages) + "\n")


async def _write(url: str, folder: Path, writes: int) -> None:
    async with hub_at(url) as backend, replica(backend, folder, node="writer") as opened:
        began = monotonic()
        for number in range(writes):
            await asyncio.sleep(max(0.0, began + number / RATE - monotonic()))
            body = str(monotonic_ns()).encode()
            await opened.write([draft(f"spread/{number}", body, priority=AT_ONCE)], strategy=Strategy.EVENTUAL)


def ages(scale: float) -> list[float]:
    """Return the ages in all processes."""
    writes = max(RATE, int(RATE * SECONDS * scale))
    with tempfile.TemporaryDirectory() as name, Server(Path(name) / "redis") as server:
        folder = Path(name)
        command = [sys.executable, "-m", "benchmarks.memories.spread", server.url, name]
        followers = [
            subprocess.Popen([*command, f"n{number}", str(writes)], stdout=subprocess.PIPE, text=True)
            for number in range(REPLICAS)
        ]
        try:
            for follower in followers:
                assert follower.stdout is not None
                follower.stdout.readline()
            asyncio.run(_write(server.url, folder, writes))
            return [float(age) for follower in followers for age in follower.communicate(timeout=60)[0].split()]
        finally:
            for follower in followers:
                follower.kill()


def measure(rounds: int, scale: float) -> Section:
    p50: list[float] = []
    p99: list[float] = []
    for _ in range(rounds):
        cut = quantiles(ages(scale), n=100)
        p50.append(cut[49])
        p99.append(cut[98])
    half = Row(name="write to seen elsewhere, p50", unit="ms", values={"meshd": p50})
    most = Row(name="write to seen elsewhere, p99", unit="ms", values={"meshd": p99})
    return Section(
        title="spread",
        rows=[half.judged(at_most(half.middle(), 2, "< 2 ms")), most.judged(at_most(most.middle(), 5, "< 5 ms"))],
        notes=[NOTE],
    )


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
