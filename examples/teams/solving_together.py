"""Solving together and sharing what is learned: one problem over three nodes, and a memory that all of them read.

    python examples/teams/solving_together.py [LIMIT]

How many primes are there below a limit? The numbers are divided; each node takes a part, uses the small primes that
whoever came first put into the shared memory, and the parts come back as one sum.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from math import isqrt

from meshd import Mesh, Node

KEY, PARTS = "primes/small", 3


def primes(below: int) -> list[int]:
    return [number for number in range(2, below) if all(number % each for each in range(2, isqrt(number) + 1))]


def solver(name: str) -> Node:
    node = Node(name)

    @node.task("primes.count")
    async def count(start: int, stop: int) -> dict[str, int]:
        """Count the primes of a range; what is learned on the way is left for the others."""
        known = await node.memory.get(KEY)
        if known is not None and known.value["below"] >= isqrt(stop) + 1:
            small, learned = known.value["primes"], 0
        else:
            small, learned = primes(isqrt(stop) + 1), 1
            mine = {"below": isqrt(stop) + 1, "primes": small, "by": name}
            await node.memory.update(KEY, lambda known: max(known, mine, key=lambda each: each["below"]), default=mine)
        found = sum(all(number % each for each in small if each * each <= number) for number in range(start, stop))
        return {"primes": found, "learned": learned, "reused": 1 - learned}

    return node


async def main(limit: int) -> None:
    step = -(-(limit - 2) // PARTS)
    parts = [{"start": start, "stop": min(start + step, limit)} for start in range(2, limit, step)]
    async with AsyncExitStack() as stack:
        for number in range(PARTS):
            await stack.enter_async_context(solver(f"solver-{number}").running())
        mesh = await stack.enter_async_context(Mesh())
        last = await mesh.tasks.submit("primes.count", start=parts[-1]["start"], stop=limit)
        print("learned by the first:", (await last.result())["learned"])
        handle = await mesh.tasks.fan_out("primes.count", parts=parts, merge="sum")
        print("primes:", (await handle.result())["primes"])
        print("nodes:", sorted({part.node_id for part in await handle.parts()}))
        shared = await mesh.memory.get(KEY)
        print("known to all:", 0 if shared is None else len(shared.value["primes"]), "small primes")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
