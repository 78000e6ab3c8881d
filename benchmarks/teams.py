"""Working groups over Redis: announcing, forming, working, ending; a hundred agents in four processes.

`python -m benchmarks.teams [--rounds 3] [--count 200]`. Beside a figure stands what the original of this protocol did
where it could be made to run: all of it in one process, without a network and without keeping anything.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, cast

import redis

from benchmarks.lab.contenders import MESHD
from benchmarks.lab.report import Row, Section, at_least, at_most, goals, markdown
from benchmarks.lab.servers import Server
from meshd import Announced, AutonomousAgent, GroupTask, Mesh, Node
from meshd.nodes.model import Agent
from meshd.settings import Settings

ORIGINAL = "original, one process"
SKILLS = ("collect", "clean", "model", "plot")
AGENTS, CREWS = 100, 4
PATIENCE = timedelta(seconds=60)
AT_ONCE = 50
IN_FLIGHT = 16
IDLE_S = 20.0
CROWD = 1_000
"""Agents by which the store's memory for one is told."""


class Worker(AutonomousAgent):
    """Has one of the four skills, and one that everybody has."""

    async def on_start(self, task: GroupTask) -> str:
        if task.payload:
            await asyncio.sleep(task.payload["seconds"])
        return self.name


async def crew(url: str, number: int) -> None:
    """Be one of the processes that agents live in."""
    agents = [
        Worker(f"agent-{place:03}", skills=[SKILLS[place % len(SKILLS)], "any"], slots=5)
        for place in range(number, AGENTS, CREWS)
    ]
    async with Node(f"crew-{number}").host(*agents).running(url, mesh="bench"):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the server was sent and sent, and how often something was published."""

    bytes: int
    published: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; times in milliseconds."""

    announced: Sequence[float]
    formed: Sequence[float]
    ended: Sequence[float]
    formed_at_once: Sequence[float]
    open_at_once: int
    cycles_per_minute: float
    published_each: float
    bytes_each: float
    idle_bytes_per_minute: float


async def one_after_another(mesh: Mesh, count: int) -> tuple[list[float], list[float], list[float]]:
    """Return how long it took to announce, to have formed, and to have ended."""
    announced, formed, ended = list[float](), list[float](), list[float]()
    for number in range(count):
        began = time.perf_counter()
        work = await mesh.groups.announce(f"work {number}", skills=SKILLS, max_size=5)
        announced.append(_since(began))
        await work.formed(timeout=PATIENCE)
        formed.append(_since(began))
        await work.result(timeout=PATIENCE)
        ended.append(_since(began))
    return announced, formed, ended


async def at_once(mesh: Mesh) -> tuple[list[float], int]:
    """Return how long it took each of fifty groups to form, and how many were open at the same time."""
    began = time.perf_counter()

    async def announce(number: int) -> tuple[Announced, float]:
        work = await mesh.groups.announce(f"at once {number}", skills=SKILLS, max_size=5, payload={"seconds": 3})
        await work.formed(timeout=PATIENCE)
        return work, _since(began)

    formed = await asyncio.gather(*(announce(number) for number in range(AT_ONCE)))
    ended = await asyncio.gather(*(work.outcome(timeout=PATIENCE) for work, _ in formed))
    open_at_once = max(sum(one.formed_ms <= each.formed_ms < one.ended_ms for one in ended) for each in ended)
    return [taken for _, taken in formed], open_at_once


async def cycles(mesh: Mesh, count: int) -> float:
    """Return how many one-skill groups are announced, formed and completed in a minute."""
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            await (await mesh.groups.announce(f"cycle {number}", skills=["any"])).result(timeout=PATIENCE)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - began) * 60


def traffic(server: Server) -> Traffic:
    with cast("Any", redis.Redis).from_url(server.url) as client:
        info = client.info("everything")
    moved = info["total_net_input_bytes"] + info["total_net_output_bytes"]
    return Traffic(bytes=moved, published=info["cmdstat_publish"]["calls"] if "cmdstat_publish" in info else 0)


async def announcing(server: Server, *, count: int, idle_s: float) -> Run:
    async with Mesh(server.url, mesh="bench") as mesh:
        await one_after_another(mesh, 20)
        before = traffic(server)
        announced, formed, ended = await one_after_another(mesh, count)
        after = traffic(server)
        formed_at_once, open_at_once = await at_once(mesh)
        rate = await cycles(mesh, count * 10)
    quiet = traffic(server)
    began = time.perf_counter()
    await asyncio.sleep(idle_s)
    idle = (traffic(server).bytes - quiet.bytes) / (time.perf_counter() - began) * 60
    return Run(
        announced=announced,
        formed=formed,
        ended=ended,
        formed_at_once=formed_at_once,
        open_at_once=open_at_once,
        cycles_per_minute=rate,
        published_each=(after.published - before.published) / count,
        bytes_each=(after.bytes - before.bytes) / count,
        idle_bytes_per_minute=idle,
    )


def measured(folder: Path, *, count: int, idle_s: float = IDLE_S) -> Run:
    """Return what a hundred agents do in processes of their own."""
    with Server(folder) as server:
        command = [sys.executable, "-m", "benchmarks.teams", "--url", server.url, "--crew"]
        crews = [
            subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(CREWS)
        ]
        try:
            for each in crews:
                assert each.stdout is not None
                each.stdout.readline()
            return asyncio.run(announcing(server, count=count, idle_s=idle_s))
        finally:
            for each in crews:
                if each.stdin is not None:
                    each.stdin.close()
            for each in crews:
                each.wait(60)
                if each.stdout is not None:
                    each.stdout.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What an agent without skills and each of its skills take in Redis, in bytes: all of it, and what groups add.

    Without the edges of the topology, of which nobody plays the manager here.
    """

    agent: float
    skill: float
    agent_in_groups: float
    skill_in_groups: float


async def kept(server: Server, agents: int, skills: int, *, taking_part: bool) -> int:
    """Return the bytes of data in Redis while so many agents with so many skills live on one node."""
    names, node = [f"skill-{number:02}" for number in range(skills)], Node("crowd")
    for number in range(agents):
        name = f"agent-{number:04}"
        if taking_part:
            node.host(Worker(name, skills=names))
        else:
            node.add_agent(Agent(id=name, name=name, capabilities=frozenset(names)))
    async with node.running(server.url, mesh="bench", settings=Settings.load(roles={"play": []})):
        server.settle()
        return server.read().memory


def _added(folder: Path, *, crowd: int, taking_part: bool) -> tuple[float, float]:
    """Return what one agent takes without skills, and what each of its skills adds."""
    found: list[int] = []
    for agents, skills in ((1, 1), (crowd + 1, 1), (crowd + 1, 5)):
        with Server(folder / f"{agents}-{skills}-{taking_part}") as server:
            found.append(asyncio.run(kept(server, agents, skills, taking_part=taking_part)))
    empty, one, five = found
    skill = (five - one) / 4 / crowd
    return (one - empty) / crowd - skill, skill


def size(folder: Path) -> Size:
    """Return what agents that take part in groups take, and how much more that is than if they did not."""
    agent, skill = _added(folder, crowd=CROWD, taking_part=True)
    agent_alone, skill_alone = _added(folder, crowd=CROWD, taking_part=False)
    return Size(agent=agent, skill=skill, agent_in_groups=agent - agent_alone, skill_in_groups=skill - skill_alone)


def measure(folder: Path, *, rounds: int, count: int) -> list[Section]:
    runs = [measured(folder / f"{number}", count=count) for number in range(rounds)]
    sizes = [size(folder / f"size-{number}") for number in range(rounds)]
    return [
        Section(
            title="one after another",
            rows=[
                _row("announced, p50", "ms", runs, lambda run: _cut(run.announced, 50), most=2, original=0.35),
                _row("announced, p99", "ms", runs, lambda run: _cut(run.announced, 99)),
                _row("formed, 4 skills, p50", "ms", runs, lambda run: _cut(run.formed, 50), most=50, original=0.92),
                _row("formed, 4 skills, p99", "ms", runs, lambda run: _cut(run.formed, 99), most=200),
                _row("ended, p50", "ms", runs, lambda run: _cut(run.ended, 50)),
                _row("published for each", "messages", runs, lambda run: run.published_each),
                _row("over the network for each", "bytes", runs, lambda run: run.bytes_each),
            ],
            notes=["The original: 4 agents, one task, its way of replying mended; nothing is ever started or ended."],
        ),
        Section(
            title=f"{AT_ONCE} at once",
            rows=[
                _row("formed, 4 skills, p50", "ms", runs, lambda run: _cut(run.formed_at_once, 50), most=500),
                _row("formed, 4 skills, p99", "ms", runs, lambda run: _cut(run.formed_at_once, 99)),
                _least(
                    "open at the same time", "groups", runs, lambda run: run.open_at_once, least=AT_ONCE, original=0
                ),
            ],
            notes=["The original forms none of 200 in 2 s with 100 holders of each skill."],
        ),
        Section(
            title="one skill, announced to completed",
            rows=[
                _least("cycles", "per minute", runs, lambda run: run.cycles_per_minute, least=10_000, original=8_287)
            ],
            notes=["The original: 100 agents that all have the skill, availability pinned, in one process."],
        ),
        Section(
            title="what it takes",
            rows=[
                _sizes("an agent", sizes, lambda each: each.agent, most=1_024),
                _sizes("an agent, by groups", sizes, lambda each: each.agent_in_groups),
                _sizes("each of its skills", sizes, lambda each: each.skill, most=500),
                _sizes("each of its skills, by groups", sizes, lambda each: each.skill_in_groups),
                _row("idle, 4 nodes with 100 agents", "bytes per minute", runs, lambda run: run.idle_bytes_per_minute),
            ],
        ),
    ]


def _row(
    name: str,
    unit: str,
    runs: Sequence[Run],
    figure: Callable[[Run], float],
    *,
    most: float | None = None,
    original: float | None = None,
) -> Row:
    row = Row(name=name, unit=unit, values=_values(runs, figure, original))
    return row if most is None else row.judged(at_most(row.middle(), most, f"≤ {most:g}"))


def _least(
    name: str, unit: str, runs: Sequence[Run], figure: Callable[[Run], float], *, least: float, original: float
) -> Row:
    row = Row(name=name, unit=unit, values=_values(runs, figure, original))
    return row.judged(at_least(row.middle(), least, f"≥ {least:,g}"))


def _values(runs: Sequence[Run], figure: Callable[[Run], float], original: float | None) -> dict[str, list[float]]:
    own = {MESHD: [figure(run) for run in runs]}
    return own if original is None else {**own, ORIGINAL: [original]}


def _sizes(name: str, sizes: Sequence[Size], figure: Callable[[Size], float], *, most: float | None = None) -> Row:
    row = Row(name=f"in Redis, {name}", unit="bytes", values={MESHD: [figure(each) for each in sizes]})
    return row if most is None else row.judged(at_most(row.middle(), most, f"≤ {most:,g}"))


def _cut(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teams")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--crew", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.crew is not None:
        asyncio.run(crew(wanted.url, wanted.crew))
        return
    with TemporaryDirectory(prefix="meshd-bench-") as folder:
        sections = measure(Path(folder), rounds=wanted.rounds, count=wanted.count)
    print(goals(sections))
    print()
    print(markdown(sections))


if __name__ == "__main__":
    main()
