"""What every benchmark shares: a private Redis, worker processes, rows, a table for people and JSON for machines."""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from meshd import Mesh, Settings
from meshd.ids import new_id
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure beside its reference; `ratio` is ours over the reference."""

    name: str
    unit: str
    ours: float
    reference: float | None = None
    reference_name: str = ""

    @property
    def ratio(self) -> float | None:
        return round(self.ours / self.reference, 3) if self.reference else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a benchmark runs and how large."""

    redis_url: str
    folder: Path
    scale: float
    rounds: int

    def url(self, backend: str) -> str:
        """A store of this backend: the private Redis, or a new SQLite file."""
        return self.redis_url if backend == "redis" else f"sqlite:///{self.folder / f'{new_id()}.db'}"

    def count(self, full: int) -> int:
        return max(20, int(full * self.scale))


def p50(values: Sequence[float]) -> float:
    return median(values)


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98]


def settings(mesh: str) -> Settings:
    """The defaults, whatever the environment says."""
    return Settings.load(mesh=mesh)


@asynccontextmanager
async def workers(url: str, mesh: str, count: int, *, concurrency: int = 100) -> AsyncGenerator[None, None]:
    """Run node processes with the benchmark's handlers for the length of the block; all joined at its start."""
    processes = [_start_worker(url, mesh, f"w{number}", concurrency) for number in range(count)]
    try:
        async with Mesh(url, settings=settings(mesh)) as seen:
            await wait_until(lambda: _are_here(seen, count), timeout=30)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _start_worker(url: str, mesh: str, name: str, concurrency: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.worker", url, mesh, name, str(concurrency)])


async def _are_here(mesh: Mesh, count: int) -> bool:
    return len(await mesh.nodes.list()) >= count


def main(title: str, measure: Callable[[Bench], Awaitable[list[Row]]]) -> None:
    """Run `measure` on a private Redis and print what it found."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the run; 0.1 is a smoke test")
    parser.add_argument("--rounds", type=int, default=3, help="medians of this many rounds")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshd-bench-")))
        server = RedisServer(folder)
        server.start()
        stack.callback(server.stop)
        bench = Bench(redis_url=server.url, folder=folder, scale=arguments.scale, rounds=arguments.rounds)
        rows = asyncio.run(_measure(measure, bench))
    _print_json(title, rows) if arguments.json else _print_table(title, rows)


async def _measure(measure: Callable[[Bench], Awaitable[list[Row]]], bench: Bench) -> list[Row]:
    return await measure(bench)


def _machine() -> dict[str, object]:
    return {"cpus": os.cpu_count(), "machine": platform.machine(), "system": platform.system()}


def _print_json(title: str, rows: list[Row]) -> None:
    document = {
        "schema_version": 1,
        "benchmark": title,
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            "redis-py": version("redis"),
            "meshd": version("agent-meshd"),
        },
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
    }
    print(json.dumps(document, indent=2))


def _print_table(title: str, rows: list[Row]) -> None:
    table = Table(title=title)
    for column in ("measured", "unit", "meshd", "reference", "ratio", "reference is"):
        table.add_column(column, justify="left" if column in ("measured", "unit", "reference is") else "right")
    for row in rows:
        reference = "" if row.reference is None else f"{row.reference:,.2f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.name, row.unit, f"{row.ours:,.2f}", reference, ratio, row.reference_name)
    Console().print(table)
