"""What a heartbeat costs, and what a list of all nodes does.

`python -m benchmarks.heartbeats [--rounds 3] [--count 3000] [--nodes 1000]`. A beat: how many one after another per
second, microseconds of the store's CPU, and microseconds within its commands, which leave out reading and writing the
socket; the reference is a bare pipeline of HSET and ZADD. A list: milliseconds until all nodes are read, beside a bare
pipeline that reads the same fields, and beside bare scripts that do, 250 hashes each; neither makes anything of them.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lab.report import Row, Section, markdown
from benchmarks.lab.servers import Server
from benchmarks.peers.bare_peer import connect
from benchmarks.peers.meshd_peer import opened
from meshd.backends.redis.node_codec import NODE_FIELDS
from meshd.nodes.model import Agent, NodeProfile, NodeStatus, Vitals

BARE_SCRIPT = """local found = {}
for at, key in ipairs(KEYS) do found[at] = redis.call('HMGET', key, unpack(ARGV)) end
return found"""
VITALS = Vitals(status=NodeStatus.ACTIVE, open_tasks=3, memory_mb=40.0, cpu_percent=1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """One run of heartbeats."""

    rate: float
    store_micros: float
    """Per beat; nothing where the store is this process."""
    command_micros: float = 0.0
    """Per beat, within the store's commands."""


async def command_micros(server: Server) -> float:
    """Return the microseconds spent in commands since the server started; of a script, what it calls counts once."""
    async with connect(server.url) as client:
        found = await client.info("commandstats")
    scripts = found.get("cmdstat_evalsha", {}).get("usec", 0)
    return float(scripts or sum(found.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("hset", "zadd")))


async def forget_stats(server: Server) -> None:
    async with connect(server.url) as client:
        await client.config_resetstat()


async def ours(url: str, server: Server, count: int) -> Beats:
    async with opened(url) as mesh:
        nodes = mesh.backend.nodes
        membership = await nodes.join(NodeProfile(id="beater"), VITALS)
        await forget_stats(server)
        cpu, began = server.cpu_s(), time.perf_counter()
        for _ in range(count):
            await nodes.heartbeat(membership, VITALS)
        elapsed, used = time.perf_counter() - began, server.cpu_s() - cpu
        within = await command_micros(server)
        await nodes.leave(membership)
    return Beats(rate=count / elapsed, store_micros=used / count * 1e6, command_micros=within / count)


async def at_once(server: Server, count: int, rounds: int) -> list[float]:
    """Return microseconds within the store's commands per beat, of `count` nodes that beat at the same time."""
    found: list[float] = []
    async with opened(server.url) as mesh:
        nodes = mesh.backend.nodes
        members = [await nodes.join(a_profile(number), VITALS) for number in range(count)]
        await nodes.heartbeat(members[0], VITALS)
        for _ in range(rounds):
            await forget_stats(server)
            await asyncio.gather(*(nodes.heartbeat(member, VITALS) for member in members))
            found.append(await command_micros(server) / count)
        for member in members:
            await nodes.leave(member)
    return found


async def list_all(url: str, count: int, rounds: int) -> list[float]:
    """Return how long each list of `count` nodes took, in milliseconds."""
    found: list[float] = []
    async with opened(url) as mesh:
        nodes = mesh.backend.nodes
        members = [await nodes.join(a_profile(number), VITALS) for number in range(count)]
        for _ in range(rounds):
            began = time.perf_counter()
            listed = await nodes.list()
            found.append((time.perf_counter() - began) * 1e3)
            if len(listed) != count:
                raise RuntimeError(f"{len(listed)} of {count} nodes were listed")
        for member in members:
            await nodes.leave(member)
    return found


async def list_bare(server: Server, count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return how long reading the same fields of as many hashes took, in milliseconds: by commands, and by scripts."""
    by_commands: list[float] = []
    by_scripts: list[float] = []
    async with connect(server.url) as client:
        fields = dict.fromkeys(NODE_FIELDS, "x" * 12) | {"profile": "x" * 390, "vitals": "x" * 150}
        keys = [f"bare:node:{number}" for number in range(count)]
        for key in keys:
            await client.hset(key, mapping=fields)
        for _ in range(rounds):
            began = time.perf_counter()
            async with client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hmget(key, NODE_FIELDS)
                await pipeline.execute()
            by_commands.append((time.perf_counter() - began) * 1e3)
            began = time.perf_counter()
            for at in range(0, count, 250):
                chunk = keys[at : at + 250]
                await client.eval(BARE_SCRIPT, len(chunk), *chunk, *NODE_FIELDS)
            by_scripts.append((time.perf_counter() - began) * 1e3)
        await client.delete(*keys)
    return by_commands, by_scripts


def a_profile(number: int) -> NodeProfile:
    agents = tuple(Agent(id=f"a{number}-{at}", name="agent", capabilities=frozenset({"german"})) for at in range(2))
    return NodeProfile(
        id=f"n{number}", host="host", pid=number + 1, capabilities=frozenset({"text", "gpu"}), agents=agents, capacity=4
    )


async def reference(server: Server, count: int) -> Beats:
    await forget_stats(server)
    async with connect(server.url) as client:
        cpu, began = server.cpu_s(), time.perf_counter()
        for number in range(count):
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.hset("bare:node", mapping={"status": "active", "open": 3, "memory": 40.0, "cpu": 1.5})
                pipeline.zadd("bare:beats", {"beater": number})
                await pipeline.execute()
        elapsed, used = time.perf_counter() - began, server.cpu_s() - cpu
    within = await command_micros(server)
    return Beats(rate=count / elapsed, store_micros=used / count * 1e6, command_micros=within / count)


async def measure(folder: Path, server: Server, *, rounds: int, count: int, nodes: int) -> Section:
    runs: dict[str, list[Beats]] = {"meshd": [], "meshd on SQLite": [], "bare": []}
    for number in range(rounds):
        runs["meshd"].append(await ours(server.url, server, count))
        runs["meshd on SQLite"].append(await ours(f"sqlite:///{folder / f'{number}.db'}", server, count))
        runs["bare"].append(await reference(server, count))
    rates = {name: [beats.rate for beats in found] for name, found in runs.items()}
    micros = {name: [beats.store_micros for beats in found] for name, found in runs.items() if "SQLite" not in name}
    within = {name: [beats.command_micros for beats in found] for name, found in runs.items() if "SQLite" not in name}
    crowd = await at_once(server, nodes, rounds)
    lists = {
        "meshd": await list_all(server.url, nodes, rounds),
        "meshd on SQLite": await list_all(f"sqlite:///{folder / 'nodes.db'}", nodes, rounds),
    }
    lists["bare"], lists["bare, by scripts"] = await list_bare(server, nodes, rounds)
    return Section(
        title="heartbeats",
        rows=[
            Row(name="one after another", unit="beats/s", values=rates),
            Row(name="Redis CPU per beat", unit="µs", values=micros),
            Row(name="of it within commands", unit="µs", values=within),
            Row(name=f"the same, {nodes} nodes at once", unit="µs", values={"meshd": crowd}),
            Row(name=f"list of {nodes} nodes", unit="ms", values=lists),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heartbeats")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    wanted = parser.parse_args()
    with TemporaryDirectory(prefix="meshd-bench-") as folder, Server(Path(folder) / "redis") as server:
        measured = measure(Path(folder), server, rounds=wanted.rounds, count=wanted.count, nodes=wanted.nodes)
        print(markdown([asyncio.run(measured)]))


if __name__ == "__main__":
    main()
