"""What a node's agents keep through a store that goes away, words that come too late, and a thousand groups."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import GroupTask, Mesh, Settings
from meshd.groups.announcements import Announcements
from meshd.groups.happenings import AgentDied
from meshd.groups.model import Announcement, AnnouncementState, Reputation, Urgency
from meshd.groups.protocol import apply
from meshd.groups.steps import Rules, Step
from tests.groups.crews import SOON, Worker, crew, ended, enrolment, quick_settings, until_free
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

CYCLES, AT_ONCE = 1_000, 20
SHORT_MS = 20
"""A second of priority, in these tests."""


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return quick_settings(mesh_name)


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server of this test's own, which keeps what it acknowledged through a kill."""
    server = RedisServer(tmp_path / "own")
    server.start(aof=True, options={"--appendfsync": "always"})
    yield server
    server.stop()


async def test_work_goes_on_through_a_restart_of_the_store_and_its_result_is_delivered(
    own_server: RedisServer, settings: Settings
) -> None:
    ana = Worker("ana", is_held=True)
    async with Mesh(own_server.url, settings=settings) as mesh, crew(own_server.url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"], deadline=timedelta(seconds=60))
        await wait_until(lambda: ana.at_work, timeout=15)
        await wait_until(lambda: mesh.groups.get(announced.id))
        own_server.kill()
        ana.gate.set()
        await asyncio.sleep(1.0)
        assert ana.at_work == 0
        own_server.restart()
        assert await announced.result(timedelta(seconds=40)) == {"python": "ana"}
        await until_free(mesh, "ana")
        assert len(ana.parts) == 1
        assert (await enrolment(mesh, "ana")).candidate.reputation.completed == 1


async def test_an_end_written_while_the_store_could_not_be_heard_is_found(
    own_server: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.groups.accepting.UNHEARD_S", 2.0)
    ana = Worker("ana", is_held=True)
    async with Mesh(own_server.url, settings=settings) as mesh, crew(own_server.url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: ana.at_work, timeout=15)
        own_server.restart()

        async def is_cancelled() -> bool:
            return (await announced.cancel("late")).state is AnnouncementState.CANCELLED

        await wait_until(is_cancelled, timeout=20)
        await until_free(mesh, "ana")
        await wait_until(lambda: ana.stopped_for, timeout=10)


async def test_agents_are_found_again_after_the_store_has_lost_everything(tmp_path: Path, mesh_name: str) -> None:
    settings = quick_settings(mesh_name, skill_update_seconds=2.0)
    server = RedisServer(tmp_path / "own")
    server.start()
    try:
        async with Mesh(server.url, settings=settings) as mesh, crew(server.url, settings, Worker("ana")):
            await (await mesh.groups.announce("count", skills=["python"])).result(SOON)
            server.restart()

            async def delivers() -> bool:
                again = await mesh.groups.announce("again", skills=["python"], deadline=timedelta(seconds=20))
                return dict(await again.result(timedelta(seconds=25))) == {"python": "ana"}

            await wait_until(delivers, timeout=40)
    finally:
        server.stop()


async def test_a_member_that_was_taken_for_dead_is_fenced_and_nothing_is_recorded(
    redis_server: RedisServer, settings: Settings
) -> None:
    ana = Worker("ana", is_held=True)
    async with Mesh(redis_server.url, settings=settings) as mesh, crew(redis_server.url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"], deadline=timedelta(seconds=5))
        await wait_until(lambda: ana.at_work, timeout=15)
        member = (await mesh.groups.get(announced.id)).members["ana"]
        died = AgentDied(agent="ana", incarnation=member.incarnation)

        def rule(current: Announcement, now_ms: int) -> Step:
            return apply(current, died, now_ms=now_ms, rules=Rules())

        await Announcements(mesh.records).change(announced.id, rule)
        ana.gate.set()
        found = await ended(announced)
        assert (found.state, found.results) == (AnnouncementState.FAILED, {})
        await until_free(mesh, "ana")
        assert (await enrolment(mesh, "ana")).candidate.reputation == Reputation()


async def test_after_a_thousand_groups_every_slot_is_exactly_free(
    redis_server: RedisServer, settings: Settings
) -> None:
    agents = [Worker(f"a{number}", "python", "sql" if number % 2 else "go", slots=5) for number in range(8)]
    states = list[AnnouncementState]()
    async with (
        Mesh(redis_server.url, settings=settings) as mesh,
        crew(redis_server.url, settings, *agents[:4]),
        crew(redis_server.url, settings, *agents[4:], name="second"),
    ):
        turn = asyncio.Semaphore(AT_ONCE)

        async def cycle(number: int) -> None:
            async with turn:
                needs = ["python"] if number % 3 else ["sql", "go"]
                announced = await mesh.groups.announce("count", skills=needs, deadline=timedelta(seconds=60))
                if number % 10 == 0:
                    await announced.cancel("not needed")
                states.append((await announced.outcome(timedelta(seconds=90))).state)

        await asyncio.gather(*(cycle(number) for number in range(CYCLES)))
        names = [agent.name for agent in agents]
        await until_free(mesh, *names)
        assert len(states) == CYCLES
        assert states.count(AnnouncementState.FAILED) == 0
        known = [(await enrolment(mesh, name)).candidate for name in names]
        assert [each.availability for each in known] == [1.0] * len(names)
        assert max(agent.most_at_work for agent in agents) <= 5
        done = sum(each.skills[name].count for each in known for name in each.skills)
        ones, twos = (sum(1 for n in range(CYCLES) if bool(n % 3) is is_one and n % 10) for is_one in (True, False))
        assert done == ones + 2 * twos


async def test_low_priority_is_overtaken_only_within_its_bound_by_endless_high_priority(
    redis_server: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.groups.waiting.MS_PER_URGENCY", SHORT_MS)
    is_over = asyncio.Event()
    highs = list[Announcement]()

    class Slow(Worker):
        async def on_start(self, task: GroupTask) -> str:
            await asyncio.sleep(0.05)
            return self.name

    ana = Slow("ana", slots=1)
    async with Mesh(redis_server.url, settings=settings) as mesh, crew(redis_server.url, settings, ana):

        async def press() -> None:
            while not is_over.is_set():
                made = await mesh.groups.announce("high", skills=["python"], priority="high")
                highs.append(await ended(made))

        pressing = [asyncio.create_task(press()) for _ in range(6)]
        await wait_until(lambda: len(highs) > 5, timeout=20)
        low = await ended(await mesh.groups.announce("low", skills=["python"], priority="low"))
        is_over.set()
        await asyncio.gather(*pressing)
    bound_ms = low.announced_ms + (Urgency.LOW - Urgency.HIGH) * SHORT_MS
    overtaking = [high for high in highs if low.announced_ms < high.announced_ms and high.formed_ms < low.formed_ms]
    assert low.state is AnnouncementState.COMPLETED
    assert overtaking
    assert all(high.announced_ms <= bound_ms for high in overtaking)
