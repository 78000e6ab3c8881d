"""Rows R1 to R5, E9, E11, E20: a hundred agents in five processes, four skills with 25 holders each, over Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import quantiles

import pytest

from meshd.groups.announced import Announced, GroupResults
from meshd.groups.model import AnnouncementState
from tests.groups_processes.agents_process import Player
from tests.groups_processes.stage import SOON, Stage, assert_covered, stage_on
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes

SKILLS = ("python", "statistics", "writing", "review")
NODES = 5
CROWD = tuple(Player(name=f"agent-{number:03}", skills=(SKILLS[number % 4],)) for number in range(100))
CYCLES = 1_000
AT_ONCE = 40


@pytest.fixture
async def crowd(redis_server: RedisServer, mesh_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    meshes = RedisMeshes(redis_server.url)
    async with stage_on(meshes.url(mesh_name), mesh_name, tmp_path) as opened:
        for number in range(NODES):
            opened.begin(f"node-{number}", *CROWD[number::NODES])
        await opened.entered(CROWD)
        yield opened
    meshes.finish(mesh_name)


async def test_fifty_groups_of_a_hundred_agents_are_open_at_once_and_each_covers_every_skill(
    crowd: Stage, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    groups = crowd.mesh.groups
    assert {skill: len(await groups.holders(skill)) for skill in SKILLS} == dict.fromkeys(SKILLS, 25)
    assert len(await crowd.mesh.nodes.list()) == NODES
    made, took_ms = list[Announced](), list[float]()
    for number in range(50):
        began_s = time.perf_counter()
        made.append(await groups.announce(f"report {number}", skills=SKILLS, payload={"hold": str(held)}))
        took_ms.append((time.perf_counter() - began_s) * 1_000)
    formed = await asyncio.gather(*(each.formed(SOON) for each in made))
    print(f"\nannouncing took {spread(took_ms)}")  # noqa: T201 -- a figure, shown by pytest -s
    print(f"forming took {spread([each.formed_ms - each.announced_ms for each in formed])}")  # noqa: T201 -- a figure, shown by pytest -s
    assert len({each.id for each in formed}) == 50
    open_now = [await each.status() for each in made]
    assert {each.state for each in open_now} == {AnnouncementState.RUNNING}
    for each in open_now:
        assert_covered(each)
    assert max((await crowd.held(CROWD)).values()) <= 5
    held.touch()
    results = await asyncio.gather(*(each.result(SOON) for each in made))
    assert all(result.keys() == set(SKILLS) for result in results)
    await crowd.until_free(CROWD)
    assert len({entry.pid for entry in crowd.journal()}) == NODES
    assert max(crowd.most_at_once().values()) <= 5


async def test_after_a_thousand_cycles_every_slot_is_back_and_each_completion_is_recorded_once(crowd: Stage) -> None:
    groups, turns = crowd.mesh.groups, asyncio.Semaphore(AT_ONCE)

    async def cycle(number: int) -> GroupResults:
        async with turns:
            announced: Announced = await groups.announce(f"chore {number}", skills=[SKILLS[number % 4]])
            return await announced.result(SOON)

    began_s = time.monotonic()
    results = await asyncio.gather(*(cycle(number) for number in range(CYCLES)))
    took_s = time.monotonic() - began_s
    print(f"\n{CYCLES} cycles in {took_s:.1f} s: {CYCLES / took_s * 60:,.0f} a minute")  # noqa: T201 -- a figure, shown by pytest -s
    assert len(results) == CYCLES
    await crowd.until_free(CROWD)
    agents = [await crowd.agent(player.name) for player in CROWD]
    assert {agent.candidate.availability for agent in agents} == {1.0}
    assert sum(skill.count for agent in agents for skill in agent.candidate.skills.values()) == CYCLES
    assert sum(1 for entry in crowd.journal() if entry.event == "start") == CYCLES
    assert await groups.list(state="open") == []


def spread(took_ms: Sequence[float]) -> str:
    cuts = quantiles(took_ms, n=100)
    return f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms"
