"""A node in its own process, as the rows need it: `python -m tests.rows.worker URL MESH NAME [OPTIONS AS JSON]`."""

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from meshd import Agent, Node, Settings, TaskContext, codec

QUICK: dict[str, Any] = {
    "heartbeat_interval_seconds": 0.1,
    "node_timeout_seconds": 1.0,
    "tasks": {"lease_seconds": 2.0, "renew_seconds": 0.5, "sweep_seconds": 0.1, "poll_seconds": 0.5},
    "task_distribution": {"retry_backoff_seconds": 0.01, "retry_jitter": False},
}
"""Timings short enough to watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a test chooses about a node."""

    type: str = "general"
    capabilities: tuple[str, ...] = ()
    specializations: tuple[str, ...] = ()
    agents: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Name, role and capabilities of each."""
    concurrency: int = 4
    port: int = 0
    clock_ahead_s: float = 0.0
    """How wrong the clock of this process is."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def settings_for(mesh: str, **more: Any) -> Settings:
    return Settings.load(mesh=mesh, **{**QUICK, **more})


def make_node(name: str, options: Options, *, url: str, settings: Settings) -> Node:
    node = Node(
        name,
        type=options.type,
        capabilities=options.capabilities,
        specializations=options.specializations,
        concurrency=options.concurrency,
        port=options.port,
        agents=[Agent(id=id, name=id, role=role, capabilities=frozenset(can)) for id, role, can in options.agents],
    )

    @node.task("echo")
    async def echo(value: int) -> int:
        return value

    @node.task("who")
    async def who() -> str:
        return name

    @node.task("hold")
    async def hold(until: str, context: TaskContext) -> str:
        """Run until a file exists; say who ran it, and as which attempt."""
        while not Path(until).exists():
            await asyncio.sleep(0.01)
        return f"{name} attempt {context.attempt}"

    @node.task("fail")
    async def fail(times: int, context: TaskContext) -> str:
        if context.attempt <= times:
            raise ValueError(f"attempt {context.attempt} on {name}")
        return f"{name} attempt {context.attempt}"

    @node.task("keep.context")
    async def keep_context(folder: str, context: TaskContext) -> None:
        """Write the context down as it arrived; the first attempt then never ends."""
        kept = Path(folder) / f"attempt-{context.attempt}"
        kept.with_suffix(".part").write_bytes(codec.encode(context.value, what="context", limit=1_000_000))
        kept.with_suffix(".part").rename(kept)
        if context.attempt == 1:
            await asyncio.Event().wait()

    @node.task("overdue")
    def overdue(first_only: bool, context: TaskContext) -> str:
        """Run over any timeout, without ever waiting."""
        while context.attempt == 1 or not first_only:
            time.sleep(0.001)
        return f"attempt {context.attempt}"

    @node.task("burn")
    def burn(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    @node.task("peers")
    async def peers() -> dict[str, list[str]]:
        """Whom this process sees: each node with its agents."""
        from meshd import Mesh  # noqa: PLC0415 -- other nodes of the rows hold no more than any node

        async with Mesh(url, settings=settings) as mesh:
            return {seen.id: sorted(agent.id for agent in seen.profile.agents) for seen in await mesh.nodes.list()}

    @node.task("inventory")
    async def inventory() -> dict[str, list[str]]:
        """What of meshd is in this process: loaded modules, and types of which an object is alive."""
        types: set[type[Any]] = {type(thing) for thing in gc.get_objects()}
        return {
            "modules": sorted(module for module in sys.modules if module.split(".")[0] == "meshd"),
            "types": sorted(name for name in (f"{t.__module__}.{t.__qualname__}" for t in types) if "meshd" in name),
        }

    add_parts(node)
    add_memory(node)
    return node


def add_parts(node: Node) -> None:
    """Have the node run parts of a divided task, and merge them."""

    @node.task("count")
    async def count(text: str, until: str = "") -> dict[str, int]:
        """Count the words, once a file exists if one is named."""
        while until and not Path(until).exists():
            await asyncio.sleep(0.01)
        return dict(Counter(text.split()))

    @node.task("count.but")
    async def count_but(text: str, bad: str) -> int:
        if text == bad:
            raise ValueError(f"{text} cannot be counted on {node.name}")
        return len(text.split())

    @node.task("merge.held")
    async def merge_held(parts: list[dict[str, int]]) -> list[str]:
        """Merge once the file exists that is the word counted first; say where."""
        (until,) = parts[0]
        while not Path(until).exists():
            await asyncio.sleep(0.01)
        return [*(word for part in parts for word in part), node.name]

    @node.task("largest")
    def largest(parts: list[dict[str, int]], context: TaskContext) -> list[Any]:
        """Merge counts: the most frequent word."""
        total = sum((Counter(part) for part in parts), Counter[str]())
        return [*max(total.items(), key=lambda one: one[1]), context.task_type]


def add_memory(node: Node) -> None:
    """Have the node write and read its memory when asked to."""

    @node.task("remember")
    async def remember(key: str, value: Any, how: dict[str, Any]) -> str:
        """Write a key of the memory; return the version's name."""
        return (await node.memory.by(agent=node.name).put(key, value, **how)).winner.name

    @node.task("recall")
    async def recall(key: str) -> dict[str, Any]:
        """What this node knows of a key."""
        entry = await node.memory.get(key)
        if entry is None:
            return {"exists": False}
        return {
            "exists": True,
            "value": entry.value,
            "is_conflict": entry.is_conflict,
            "siblings": [side.value for side in entry.siblings],
            "blobs": [version.blob.hex() for version in entry.item],
        }


def set_clock_ahead(seconds: float) -> None:
    """Make this process believe it is later than it is."""
    tell, tell_ns = time.time, time.time_ns
    time.time = lambda: tell() + seconds
    time.time_ns = lambda: tell_ns() + int(seconds * 1e9)


def main(url: str, mesh: str, name: str, choices: str = "{}") -> None:
    options = Options(**json.loads(choices))
    set_clock_ahead(options.clock_ahead_s)
    settings = settings_for(mesh, **options.settings)
    node = make_node(name, options, url=url, settings=settings)
    asyncio.run(node.run(url, settings=settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
