"""Rows E and F: agents in processes of their own find each other, negotiate, team up, deliver, and are free again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd.errors import BackpressureError, DeadlineError, GroupFailedError, NotFoundError
from meshd.groups.announced import Announced, Update
from meshd.groups.model import AnnouncementState, GroupMessage
from meshd.groups.obstacles import ObstacleKind
from meshd.groups.wire import node_place, place_of
from meshd.nodes.model import Level
from meshd.settings_groups import GroupsSettings
from tests.groups_processes.agents_process import Player
from tests.groups_processes.stage import SOON, Stage, assert_covered, stage_on
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes
from tests.support.waiting import wait_until

SHORT: dict[str, Any] = {"formation_seconds": 1.0, "max_announcements": 5, "kept_seconds": 1.0}


@pytest.fixture
async def stage(store_url: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_on(store_url, mesh_name, tmp_path) as opened:
        yield opened


@pytest.fixture
async def brief(redis_server: RedisServer, mesh_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage with small limits."""
    meshes = RedisMeshes(redis_server.url)
    async with stage_on(meshes.url(mesh_name), mesh_name, tmp_path, groups=SHORT) as opened:
        yield opened
    meshes.finish(mesh_name)


async def test_an_announcement_reaches_every_eligible_agent_once_and_everybody_hears_of_the_group(
    stage: Stage, tmp_path: Path
) -> None:
    """Rows E1, E2, E4, F1, F6, F7, F8, F9."""
    able = [Player(name="adept", skills=("python=expert",)), Player(name="pupil", skills=("python=novice",))]
    other = [Player(name="master", skills=("python=advanced", "writing")), Player(name="stranger", skills=("cooking",))]
    await stage.enter("one", *able)
    await stage.enter("two", *other)
    groups, held, updates = stage.mesh.groups, tmp_path / "held", list[Update]()
    assert {each.agent: each.level for each in await groups.holders("python")} == {
        "adept": Level.EXPERT,
        "pupil": Level.NOVICE,
        "master": Level.ADVANCED,
    }
    assert {each.agent for each in await groups.holders("python", level="advanced")} == {"adept", "master"}
    names = [player.name for player in (*able, *other)]
    places = [*map(place_of, [*names, groups.options.initiator]), node_place("one"), node_place("two")]
    async with stage.mesh.events.subscribe(*places) as said:
        made = await groups.announce(
            "work",
            skills=["python>=expert", "writing"],
            metadata={"for": "the board"},
            payload={"update": True, "hold": str(held)},
            on_update=updates.append,
        )
        assert_covered(await made.formed(SOON))
        await wait_until(lambda: {update.agent for update in updates if update.progress == 0.5} == {"adept", "master"})
        assert {member.progress for member in (await made.status()).members.values()} == {0.5}
        held.touch()
        results = await made.result(SOON)
        heard = list[tuple[str, str, Mapping[str, Any]]]()
        while (hint := await said.get(timeout_ms=300)) is not None:
            heard.append((hint.body["t"], hint.topic, hint.body.get("p", {})))
    assert {role: result["agent"] for role, result in results.items()} == {"python": "adept", "writing": "master"}
    asked = Counter(name for type, _, said in heard if type == GroupMessage.TASK_ANNOUNCE for name in said["agents"])
    assert asked == {"adept": 1, "master": 1}
    initiator = place_of(groups.options.initiator)
    formed = Counter(topic for type, topic, _ in heard if type == GroupMessage.GROUP_FORMED)
    assert formed[initiator] == 1
    assert all(formed[place_of(name)] <= 1 for name in names)
    types = [type for type, _, _ in heard]
    assert types.index(GroupMessage.GROUP_INVITE) < types.index(GroupMessage.GROUP_FORMED)
    if GroupMessage.TASK_START in types:
        assert types.index(GroupMessage.GROUP_FORMED) < types.index(GroupMessage.TASK_START)
    assert types.count(GroupMessage.TASK_COMPLETE) >= 1
    assert [topic for type, topic, _ in heard if type == GroupMessage.TASK_COMPLETE].count(initiator) == 1


async def test_who_is_too_busy_does_not_offer_and_a_full_one_is_given_no_sixth(stage: Stage, tmp_path: Path) -> None:
    """Rows E6 and E24."""
    roomy, usual = Player(name="roomy", skills=("x",), slots=10), Player(name="usual", skills=("y",))
    await stage.enter("one", roomy, usual)
    groups, held = stage.mesh.groups, tmp_path / "held"

    async def work(skill: str) -> Announced:
        made = await groups.announce("work", skills=[skill], payload={"hold": str(held)})
        await made.formed(timedelta(seconds=10))
        return made

    made = [await work(skill) for skill, count in (("x", 9), ("y", 5)) for _ in range(count)]
    assert await stage.held([roomy, usual]) == {"roomy": 9, "usual": 5}
    for skill, kind in (("x", ObstacleKind.BUSY), ("y", ObstacleKind.FULL)):
        more = await groups.announce("one more", skills=[skill])
        with pytest.raises(DeadlineError):
            await more.formed(timedelta(seconds=1))
        (passed_over,) = (await groups.explain(more.id)).others
        assert [obstacle.kind for obstacle in passed_over.obstacles] == [kind]
        made.append(more)
    held.touch()
    await asyncio.gather(*(each.result(SOON) for each in made))
    await stage.until_free([roomy, usual])
    assert stage.most_at_once() == {"roomy": 9, "usual": 5}


async def test_what_is_not_covered_in_time_fails_waits_on_or_starts_and_is_labelled(brief: Stage) -> None:
    """Rows E8, E10 and E25."""
    await brief.enter("one", Player(name="half", skills=("x",)))
    groups, failures = brief.mesh.groups, list[GroupFailedError]()
    made = {
        policy: await groups.announce(policy, skills=["x", "y"], partial=policy, on_failure=failures.append)
        for policy in ("fail", "start", "extend")
    }
    with pytest.raises(GroupFailedError, match=r"not covered: .*y"):
        await made["fail"].result(SOON)
    partial = await made["start"].result(SOON)
    assert (set(partial), partial.is_partial, partial.missing) == ({"x"}, True, ("y",))
    assert (await made["start"].status()).is_partial
    await brief.enter("two", Player(name="late", skills=("y",)))
    whole = await made["extend"].result(SOON)
    assert (set(whole), whole.is_partial) == ({"x", "y"}, False)
    await wait_until(lambda: len(failures) == 1)
    assert failures[0].announcement_id == made["fail"].id


async def test_the_second_phase_starts_only_after_the_first_has_completed_and_gets_its_results(stage: Stage) -> None:
    """Rows E18 and E19."""
    await stage.enter("one", Player(name="first", skills=("x",)), Player(name="second", skills=("y",)))
    groups = stage.mesh.groups
    one = await groups.announce("phase 1", skills=["x"], payload={"work_s": 0.5})
    two = await groups.announce("phase 2", skills=["y"], depends_on=[one.id])
    assert (await two.status()).state is AnnouncementState.WAITING
    with pytest.raises(DeadlineError):
        await groups.wait_for_task(two.id, timeout=timedelta(milliseconds=50))
    over = await groups.wait_for_task(two.id, timeout=SOON)
    before = await groups.wait_for_task(one.id, timeout=SOON)
    assert (over.state, before.state) == (AnnouncementState.COMPLETED, AnnouncementState.COMPLETED)
    assert before.ended_ms <= over.formed_ms
    assert [(entry.agent, entry.event) for entry in stage.journal()] == [
        ("first", "start"),
        ("first", "end"),
        ("second", "start"),
        ("second", "end"),
    ]


async def test_no_more_than_the_limit_are_open_and_those_that_ended_are_removed(brief: Stage) -> None:
    """Row E23."""
    assert GroupsSettings().max_announcements == 1_000
    groups = brief.mesh.groups
    made = [await groups.announce("work", skills=["nobody"], partial="extend") for _ in range(5)]
    with pytest.raises(BackpressureError, match="5 announcements are open"):
        await groups.announce("one more", skills=["nobody"])
    await made[0].cancel("enough")
    await groups.announce("one more", skills=["nobody"])

    async def is_removed() -> bool:
        try:
            await made[0].status()
        except NotFoundError:
            return True
        return False

    await wait_until(is_removed)


async def test_agents_say_anew_what_they_can_do_and_a_dead_process_is_found_no_more(
    redis_server: RedisServer, mesh_name: str, tmp_path: Path
) -> None:
    """Rows E24 and F2."""
    meshes = RedisMeshes(redis_server.url)
    async with stage_on(meshes.url(mesh_name), mesh_name, tmp_path, groups={"skill_update_seconds": 1.0}) as stage:
        process = await stage.enter("one", Player(name="silent", skills=("x",)))
        await stage.enter("two", Player(name="lively", skills=("x",)))
        process.kill()

        async def only_the_living() -> bool:
            return {each.agent for each in await stage.mesh.groups.holders("x")} == {"lively"}

        await wait_until(only_the_living, timeout=15, pause=0.1)
        last = await stage.mesh.backend.records.list("skill/x/", limit=10)
        (row,) = last

        async def is_renewed() -> bool:
            (now,) = await stage.mesh.backend.records.list("skill/x/", limit=10)
            return now.revision > row.revision and await only_the_living()

        await wait_until(is_renewed, timeout=15, pause=0.1)
    meshes.finish(mesh_name)
