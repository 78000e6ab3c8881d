"""Four agents append to one list through LangGraph's store interface: what is kept, on meshd and on LangGraph's own."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from benchmarks.lab.contenders import MESHD
from benchmarks.lab.report import Row, Section, at_least
from benchmarks.lab.servers import Server
from meshd.integrations.langgraph import MeshStore
from meshd.mesh import Mesh

AGENTS = 4
APPENDS = 100
LANGGRAPH = "langgraph InMemoryStore"
PLACE = ("team",)
NOTE = (
    "Appends: four agents in one process, each reads a list, lets the others run, and puts it back one longer, 100 "
    "times. LangGraph's own store is in memory: it has no server to ask, and loses what was written in between."
)


async def appended(store: BaseStore, count: int) -> tuple[float, float]:
    """Return how many different appends the list has in the end, and how many were made per second."""

    async def agent(name: int) -> None:
        for number in range(count):
            item = await store.aget(PLACE, "log")
            log: list[str] = [] if item is None else item.value["log"]
            await asyncio.sleep(0)
            await store.aput(PLACE, "log", {"log": [*log, f"{name}.{number}"]})

    await store.aput(PLACE, "log", {"log": []})
    began = perf_counter()
    await asyncio.gather(*(agent(name) for name in range(AGENTS)))
    spent = perf_counter() - began
    kept = await store.aget(PLACE, "log")
    return float(0 if kept is None else len(set(kept.value["log"]))), AGENTS * count / spent


async def _on_meshd(url: str, count: int) -> tuple[float, float]:
    async with Mesh(url) as mesh:
        return await appended(MeshStore(mesh.memory), count)


def measure(rounds: int, scale: float) -> Section:
    count = max(1, int(APPENDS * scale))
    found: Mapping[str, list[tuple[float, float]]] = {MESHD: [], LANGGRAPH: []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
            found[MESHD].append(asyncio.run(_on_meshd(server.url, count)))
        found[LANGGRAPH].append(asyncio.run(appended(InMemoryStore(), count)))
    kept, speed = (
        Row(name=name, unit=unit, values={who: [each[at] for each in figures] for who, figures in found.items()})
        for at, (name, unit) in enumerate((("kept of 4 agents × 100", "appends"), ("speed", "appends/s")))
    )
    lost_none = at_least(min(kept.values[MESHD]), AGENTS * count, "all 400")
    return Section(title="appends", rows=[kept.judged(lost_none), speed], notes=[NOTE])
