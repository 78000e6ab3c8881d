"""Row E22: several hubs at once, one killed, one frozen; and a Redis that is killed and comes back in the middle."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import pytest

from meshd.groups.model import Announcement, AnnouncementState, GroupMessage
from tests.groups_processes.agents_process import Player
from tests.groups_processes.announcer_process import Work
from tests.groups_processes.stage import SOON, Process, Stage, assert_covered, gone, stage_on
from tests.groups_processes.trap import Trap
from tests.support.redis_server import RedisServer

SKILLS = ("x", "y")
EIGHT = tuple(Player(name=f"{skill}-{number}", skills=(skill,)) for skill in SKILLS for number in range(4))
BATCH = 12


@pytest.fixture
async def eight(stage: Stage) -> Stage:
    """Eight agents in two processes, both of which play the role that leads what nobody leads."""
    await enter_eight(stage)
    return stage


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start(aof=True, options={"--appendfsync": "always"})
    yield server
    server.stop()


async def enter_eight(stage: Stage) -> None:
    stage.begin("one", *EIGHT[::2])
    stage.begin("two", *EIGHT[1::2])
    await stage.entered(EIGHT)


def batch(name: str, **more: object) -> Work:
    return Work(ids=tuple(f"{name}-{number:02}" for number in range(BATCH)), skills=SKILLS, payload={**more})


def is_stopped(process: Process) -> bool:
    """Return whether a signal has stopped the process."""
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


async def all_over(stage: Stage, ids: Sequence[str]) -> list[Announcement]:
    """Return these once they are over; each completed, formed once, and worked for once by each of its members."""
    over = [await stage.over(id) for id in ids]
    await stage.until_free(EIGHT)
    starts = Counter((entry.announcement, entry.roles) for entry in stage.journal() if entry.event == "start")
    for each in over:
        assert each.state is AnnouncementState.COMPLETED, (each.id, each.reason)
        assert each.epoch == 1, f"the group of {each.id} was formed once"
        assert_covered(each)
        assert {starts[each.id, member.roles] for member in each.members.values()} == {1}
    assert max(stage.most_at_once().values()) <= 5
    agents = [(await stage.agent(player.name)).candidate for player in EIGHT]
    assert sum(skill.count for agent in agents for skill in agent.skills.values()) == 2 * len(over)
    return over


async def test_of_two_hubs_at_once_one_is_killed_and_no_group_is_lost_or_formed_twice(eight: Stage) -> None:
    doomed, other = batch("doomed", work_s=0.2), batch("other", work_s=0.2)
    trap = Trap(at=GroupMessage.GROUP_INVITE, nth=BATCH)
    killed = eight.announcer(Work(ids=doomed.ids, skills=SKILLS, payload=doomed.payload, trap=trap))
    spared = eight.announcer(other)
    await gone(killed)
    made = {each.id for each in await eight.mesh.groups.list(limit=1_000)} & set(doomed.ids)
    assert made
    await all_over(eight, [*sorted(made), *other.ids])
    assert await asyncio.to_thread(spared.wait, 20) == 0


async def test_a_frozen_hub_that_wakes_leads_beside_the_one_that_followed_it_and_does_no_harm(
    eight: Stage, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    work = batch("frozen", hold=str(held))
    trap = Trap(at=GroupMessage.TASK_ANNOUNCE, signal="SIGSTOP", announcement=work.ids[3])
    frozen = eight.announcer(Work(ids=work.ids, skills=SKILLS, payload=work.payload, trap=trap))
    await eight.until(work.ids[3], AnnouncementState.RUNNING)
    assert is_stopped(frozen), "somebody else asked for offers and formed the group"
    frozen.send_signal(signal.SIGCONT)
    for id in work.ids:
        await eight.until(id, AnnouncementState.RUNNING)
    held.touch()
    assert await asyncio.to_thread(frozen.wait, 60) == 0
    await all_over(eight, work.ids)


async def test_work_goes_on_where_it_was_after_redis_was_killed_and_restarted(
    own_redis: RedisServer, mesh_name: str, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    async with stage_on(own_redis.url, mesh_name, tmp_path, node_timeout_seconds=20.0) as stage:
        await enter_eight(stage)
        before = [
            await stage.mesh.groups.announce(f"before {number}", skills=SKILLS, payload={"hold": str(held)})
            for number in range(6)
        ]
        await asyncio.gather(*(each.formed(SOON) for each in before))
        during = [await stage.mesh.groups.announce("during", skills=SKILLS) for _ in range(6)]
        own_redis.restart()
        held.touch()
        await asyncio.gather(*(each.outcome(SOON) for each in [*before, *during]))
        after = await stage.mesh.groups.announce("after", skills=SKILLS)
        await after.result(SOON)
        await all_over(stage, [each.id for each in [*before, *during, after]])
