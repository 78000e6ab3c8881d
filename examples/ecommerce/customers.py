"""Customers of the shop of examples/ecommerce.yaml: they order, and look whether the mesh does what it says.

Every line that is printed was asserted. `MESHD_URL` names the store, as for every command.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from meshd import Mesh
from meshd.topology.model import Edge, Graph

AGENTS = {"sales", "support", "inventory", "fraud"}
ORDERS = [json.loads(line) for line in (Path(__file__).parent / "orders.jsonl").read_text().splitlines()]
T = TypeVar("T")


async def until(what: str, read: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, seconds: float = 60) -> T:
    """Return what was read once it holds; a store is asked again each half second."""
    found = await read()
    for _ in range(int(seconds * 2)):
        if holds(found):
            break
        await asyncio.sleep(0.5)
        found = await read()
    check(holds(found), what)
    return found


def check(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"NOT {what}")
    print(f"ok  {what}")


def among_agents(graph: Graph) -> list[Edge]:
    return [edge for edge in graph.edges if {edge.source, edge.target} <= AGENTS]


async def main() -> None:
    async with Mesh() as mesh:
        await until("four agents joined", mesh.topology.graph, lambda graph: set(graph.agents) >= AGENTS)
        await until("12 directed edges", mesh.topology.graph, lambda graph: len(among_agents(graph)) == 12)
        outcomes = [await mesh.messages.request("sales", "order", o, timeout=timedelta(minutes=2)) for o in ORDERS]
        for order, outcome in zip(ORDERS, outcomes, strict=True):
            kept = await mesh.memory.get(f"orders/{order['id']}")
            told = {outcome["state"], order["expected"], outcome["state"] if kept is None else kept.value}
            check(len(told) == 1, f"order {order['id']} over {order['amount']}: {' and '.join(told)}")
        votes = await mesh.votes.list()
        check({str(vote.state) for vote in votes} == {"accepted"}, f"{len(votes)} payments were blocked by vote")
        used = await until("used edges grew", mesh.topology.graph, lambda graph: weight(graph, "sales", "fraud") > 0.5)
        before = weight(used, "sales", "fraud")
        await until("edges decay", mesh.topology.graph, lambda graph: weight(graph, "sales", "fraud") < before)
        unused = ("support", "inventory")
        await until("an unused edge was pruned", mesh.topology.graph, lambda g: weight(g, *unused) == 0, seconds=150)


def weight(graph: Graph, source: str, target: str) -> float:
    return next((edge.weight for edge in graph.edges if (edge.source, edge.target) == (source, target)), 0.0)


asyncio.run(main())
