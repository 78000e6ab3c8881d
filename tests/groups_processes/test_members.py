"""Rows E7, E12, E13: members that reject, never start, fail, leave, freeze, or die with nobody to follow."""

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd.errors import GroupFailedError
from meshd.events import Hint, Subscription
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage
from meshd.groups.reputation import mean_at
from meshd.groups.wire import place_of
from tests.groups_processes.agents_process import Player
from tests.groups_processes.stage import SOON, SPARE_MS, Stage, gone, stage_on
from tests.groups_processes.trap import Trap
from tests.support.waiting import wait_until

SPARE = Player(name="spare", skills=("x",), cost=9)
PARTNER = Player(name="partner", skills=("y",))


def best(name: str, *, rejects: str = "", raises: str = "") -> Player:
    """An agent that is chosen before the spare."""
    return Player(name=name, skills=("x=expert",), cost=0, rejects=rejects, raises=raises)


@pytest.fixture
async def patient(redis_mesh: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage on which nobody is taken for dead, and members have half a second to start."""
    more: dict[str, Any] = {"node_timeout_seconds": 60.0, "groups": {"start_seconds": 0.5}}
    async with stage_on(redis_mesh, mesh_name, tmp_path, **more) as opened:
        yield opened


async def work(stage: Stage, **payload: object) -> Announcement:
    """Return an announcement of x and y that has completed."""
    made = await stage.mesh.groups.announce("work", skills=["x", "y"], id="best-one", payload=payload)
    over = await made.outcome(SOON)
    assert over.state is AnnouncementState.COMPLETED, over.reason
    return over


async def outcomes(stage: Stage, player: Player) -> tuple[int, float]:
    """Return how many outcomes are recorded of an agent, and its reputation."""
    agent = (await stage.agent(player.name)).candidate
    return sum(skill.count for skill in agent.skills.values()), mean_at(agent.reputation, agent.reputation.at_ms)


async def test_who_rejects_says_why_is_no_member_and_is_replaced(any_stage: Stage) -> None:
    busy = best("busy", rejects="I have something better to do")
    await any_stage.enter("one", busy, PARTNER)
    await any_stage.enter("two", SPARE)
    over = await work(any_stage)
    assert over.members.keys() == {"spare", "partner"}
    assert over.refused == {"busy": "I have something better to do"}
    await any_stage.until_free([busy, SPARE, PARTNER])
    assert await outcomes(any_stage, busy) == (0, 0.5)
    assert "busy" not in {entry.agent for entry in any_stage.journal()}


async def test_who_accepts_and_never_starts_is_reminded_and_then_replaced(patient: Stage) -> None:
    sleeper = best("sleeper")
    await patient.enter("one", replace(PARTNER, pace=0), replace(SPARE, pace=0))
    asleep = await patient.enter("two", sleeper, trap=Trap(at=GroupMessage.GROUP_ACCEPT, signal="SIGSTOP"))
    async with patient.mesh.events.subscribe(place_of("sleeper")) as said:
        over = await work(patient, work_s=2)
        heard = [hint.body["t"] async for hint in _pending(said)]
    assert over.members.keys() == {"spare", "partner"}
    assert over.refused == {"sleeper": "did not start"}
    assert GroupMessage.TASK_START in heard
    asleep.send_signal(signal.SIGCONT)
    await patient.until_free([sleeper, SPARE, PARTNER])
    assert await outcomes(patient, sleeper) == (0, 0.5)


async def test_an_invitation_that_is_not_answered_expires_and_the_next_is_asked(
    redis_mesh: str, mesh_name: str, tmp_path: Path
) -> None:
    mute = best("mute")
    groups = {"hold_seconds": 0.5}
    async with stage_on(redis_mesh, mesh_name, tmp_path, node_timeout_seconds=60.0, groups=groups) as stage:
        await stage.enter("one", PARTNER, SPARE)
        silent = await stage.enter("two", mute, trap=Trap(at=GroupMessage.GROUP_INVITE, signal="SIGSTOP"))
        over = await work(stage)
        assert over.members.keys() == {"spare", "partner"}
        silent.send_signal(signal.SIGCONT)
        await stage.until_free([mute, SPARE, PARTNER])
        assert await outcomes(stage, mute) == (0, 0.5)
        assert "mute" not in {entry.agent for entry in stage.journal()}


async def test_who_fails_says_why_loses_reputation_and_is_replaced(any_stage: Stage) -> None:
    broken = best("broken", raises="the disk is full")
    await any_stage.enter("one", broken, PARTNER)
    await any_stage.enter("two", SPARE)
    over = await work(any_stage)
    assert over.results["x"]["agent"] == "spare"
    assert over.refused == {"broken": "ValueError: the disk is full"}
    await any_stage.until_free([broken, SPARE, PARTNER])
    assert await outcomes(any_stage, broken) == (1, 2 / 5)
    assert await outcomes(any_stage, SPARE) == (1, 3 / 5)


async def test_who_leaves_in_the_middle_is_replaced_and_nothing_is_held_against_it(
    any_stage: Stage, tmp_path: Path
) -> None:
    leaver, held = best("leaver"), tmp_path / "held"
    process = await any_stage.enter("one", leaver, grace_s=0.2)
    await any_stage.enter("two", SPARE, PARTNER)
    working = asyncio.create_task(work(any_stage, hold=str(held)))
    await until_at_work(any_stage, "leaver")
    process.terminate()
    await until_at_work(any_stage, "spare")
    held.touch()
    over = await working
    assert over.results["x"]["agent"] == "spare"
    assert over.refused == {"leaver": "its node leaves the mesh"}
    await wait_until(lambda: process.poll() == 0, timeout=10)
    await any_stage.until_free([leaver, SPARE, PARTNER])
    assert await outcomes(any_stage, leaver) == (0, 0.5)

    async def is_found_no_more() -> bool:
        return {each.agent for each in await any_stage.mesh.groups.holders("x")} == {"spare"}

    await wait_until(is_found_no_more)


async def test_the_late_result_of_a_frozen_process_is_refused_and_moves_no_reputation(
    stage: Stage, tmp_path: Path
) -> None:
    zombie, held = best("zombie"), tmp_path / "held"
    process = await stage.enter("one", zombie)
    await stage.enter("two", SPARE, PARTNER)
    working = asyncio.create_task(work(stage, hold=str(held)))
    await until_at_work(stage, "zombie")
    process.send_signal(signal.SIGSTOP)
    await until_at_work(stage, "spare")
    held.touch()
    over = await working
    assert over.results["x"]["agent"] == "spare"
    assert over.dead.keys() == {"zombie"}
    process.send_signal(signal.SIGCONT)
    await stage.until_free([zombie, SPARE, PARTNER])
    assert await outcomes(stage, zombie) == (0, 0.5)
    assert await stage.mesh.groups.get(over.id) == over


async def test_with_nobody_to_follow_the_group_fails_by_its_deadline_and_keeps_what_was_done(stage: Stage) -> None:
    only = best("only")
    process = await stage.enter("one", only, trap=Trap(at=GroupMessage.TASK_UPDATE))
    await stage.enter("two", PARTNER)
    made = await stage.mesh.groups.announce(
        "work",
        skills=["x", "y"],
        payload={"after": {"x": "y"}, "work_s": 1, "update": True},
        deadline=timedelta(seconds=4),
        on_update=lambda update: None,
    )
    await gone(process)
    with pytest.raises(GroupFailedError) as caught:
        await made.result(SOON)
    over = await made.status()
    assert over.ended_ms <= over.deadline_ms + SPARE_MS
    assert caught.value.results.keys() == {"y"}
    assert "deadline" in over.reason or "not covered: x" in over.reason
    await stage.until_free([PARTNER])


async def _pending(said: Subscription) -> AsyncGenerator[Hint]:
    while (hint := await said.get(timeout_ms=100)) is not None:
        yield hint


async def until_at_work(stage: Stage, agent: str) -> None:
    def has_begun() -> bool:
        return any(entry.agent == agent and entry.event == "start" for entry in stage.journal())

    await wait_until(has_begun, timeout=30, pause=0.05)
