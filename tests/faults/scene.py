"""What the fault tests share: brisk timings, a worker that keeps count of what it did, and readings of the log."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from meshd import Mesh, Node, Settings, TaskContext
from meshd.events import START
from meshd.nodes.model import Verdict
from meshd.tasks.store import TASKS_LOG
from tests.support.waiting import wait_until

MESH = "faults"
SOON = timedelta(seconds=20)
LEASE_S = 2.0
SWEEP_S = 0.1
TIMEOUT_S = 2.0
"""Longest call to the store."""
SLOW_LOAD = {"--key-load-delay": "200"}
"""Makes a server sleep this many microseconds after each command it reads from its file."""


def settings(*, patience_s: float = 20.0, **tasks: float) -> Settings:
    """Timings short enough to watch; `tasks` replaces some of the section's."""
    timings = {"lease_seconds": LEASE_S, "renew_seconds": 0.5, "sweep_seconds": SWEEP_S, "poll_seconds": 0.5}
    return Settings.load(
        mesh=MESH,
        heartbeat_interval_seconds=0.2,
        node_timeout_seconds=1.5,
        store_timeout_seconds=TIMEOUT_S,
        join_patience_seconds=patience_s,
        tasks=timings | tasks,
        task_distribution={"retry_backoff_seconds": 0.01, "retry_jitter": False},
    )


class Ledger:
    """What handlers in this process began and ended, by task."""

    def __init__(self) -> None:
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.began_ms: dict[str, int] = {}
        self.go_on = asyncio.Event()
        """Lets the tasks `hold` end."""


def a_worker(name: str, ledger: Ledger, *, concurrency: int = 8) -> Node:
    """Return a node whose handlers write into the ledger."""
    node = Node(name, concurrency=concurrency, grace=timedelta(seconds=5))

    def begin(context: TaskContext) -> None:
        ledger.began[context.task_id] += 1
        ledger.began_ms[context.task_id] = time.time_ns() // 1_000_000

    @node.task("work")
    async def work(context: TaskContext, number: int = 0, ms: float = 0.0, blob: str = "") -> int:
        del blob
        begin(context)
        await asyncio.sleep(ms / 1000)
        ledger.ended[context.task_id] += 1
        return number

    @node.task("hold")
    async def hold(context: TaskContext) -> str:
        begin(context)
        await ledger.go_on.wait()
        ledger.ended[context.task_id] += 1
        return f"{name} attempt {context.attempt}"

    return node


async def task_log(mesh: Mesh) -> list[dict[str, Any]]:
    """Return the bodies of the whole log `tasks`, each with its time as `at_ms`."""
    found: list[dict[str, Any]] = []
    cursor = START
    while events := await mesh.events.read(TASKS_LOG, after=cursor, limit=1_000):
        cursor = events[-1].cursor
        found += [{**event.body, "at_ms": event.at_ms} for event in events]
    return found


async def steps(mesh: Mesh, verb: str) -> list[str]:
    """Return the tasks that the log says took this step, in order."""
    return [entry["task"] for entry in await task_log(mesh) if entry["event"] == verb]


async def until_alive(mesh: Mesh, name: str, *, after: int = 0, timeout: float = 20) -> None:
    """Return once the mesh lists the node alive under a newer incarnation than `after`."""

    async def is_alive() -> bool:
        nodes = await mesh.nodes.list()
        return any(node.id == name and node.incarnation > after and node.verdict is Verdict.ALIVE for node in nodes)

    await wait_until(is_alive, timeout=timeout)


async def seconds_for(call: Callable[[], Awaitable[object]]) -> float:
    """Return how long the call took."""
    began = time.monotonic()
    await call()
    return time.monotonic() - began
