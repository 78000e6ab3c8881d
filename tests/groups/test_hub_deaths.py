"""Hubs die between any two steps, lead one announcement together, lose their store; nodes die under their groups.

Whatever happens: each announcement ends in time, each part is done once, and nobody has more work than slots.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.groups import hub as hub_module
from meshd.groups.announcements import Announcements, marker_of
from meshd.groups.behaviour import Part
from meshd.groups.leading import HubOptions
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage
from meshd.groups.offers import announce
from meshd.groups.registry import Registry
from meshd.groups.steps import Rules
from meshd.groups.wire import HUBS, node_place, opened
from tests.conftest import OpenAgain
from tests.groups.living import OVER, Doer, draft, ended, kill, living
from tests.groups.test_hub import FAST
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

COMPLETED, FAILED = AnnouncementState.COMPLETED, AnnouncementState.FAILED


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    """The store's own clock."""
    return BackendOptions(mesh=mesh_name)


@pytest.fixture
def announcements(backend: Backend) -> Announcements:
    return Announcements(backend.records)


async def _books_are_free(backend: Backend, agents: Sequence[str]) -> bool:
    kept = [await Registry(backend.records).find(agent) for agent in agents]
    return all(each is not None and not each.enrolment.book.holds for each in kept)


async def test_a_hub_killed_before_any_call_of_the_store_loses_and_doubles_nothing(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    """Forty hubs announce one piece of work each, and die one call later each; one that is willing leads on."""
    doers = [Doer(f"{skill}{number}", skills=[skill], slots=40) for skill in "xy" for number in range(3)]
    names = [f"t{calls:02}" for calls in range(40)]
    async with living(open_again, options=FAST) as mesh:
        await mesh.node("n1", *doers[::2])
        await mesh.node("n2", *doers[1::2])
        await mesh.hub("willing", is_willing=True)
        announcing: list[asyncio.Task[object]] = []
        for calls, name in enumerate(names):
            doomed = await mesh.hub(f"h{calls}", dies_before=calls)
            announcing.append(asyncio.create_task(doomed.announce(name, draft(name, "x", "y"))))
        await wait_until(lambda: _all_is_over(announcements), 30)
        for task in announcing:
            task.cancel()
        kept = {name: each for name in names if (each := await announcements.find(name)) is not None}
        assert 10 <= len(kept) < len(names), "some died before they had announced, most after"
        for name, each in kept.items():
            assert each.announcement.state is COMPLETED, each.announcement
            workers = sorted(doer.name[0] for doer in doers for did in doer.did if did == name)
            assert workers == ["x", "y"], (name, workers)
        await wait_until(lambda: _books_are_free(backend, [doer.name for doer in doers]))


async def _all_is_over(announcements: Announcements) -> bool:
    return bool(await announcements.list(limit=30)) and not await announcements.open_markers()


async def test_two_hubs_on_one_announcement_form_one_group(open_again: OpenAgain, announcements: Announcements) -> None:
    async def slowly(part: Part) -> str:
        await asyncio.sleep(0.01)
        return part.agent

    async with living(open_again, options=FAST) as mesh:
        doers = [Doer(f"{skill}{number}", [skill], slots=2, works=slowly) for skill in "xy" for number in range(3)]
        await mesh.node("n1", *doers[::2])
        await mesh.node("n2", *doers[1::2])
        first, second, third = await mesh.hub("h1"), await mesh.hub("h2"), await mesh.hub("h3")
        names = [f"t{number:02}" for number in range(20)]

        async def led_by_three(name: str) -> None:
            await first.announce(name, draft(name, "x", "y"))
            second.lead(name)
            third.lead(name)

        await asyncio.gather(*(led_by_three(name) for name in names))
        for name in names:
            over = await ended(announcements, name, timeout=20)
            assert over.state is COMPLETED, over
            assert over.epoch == 1
        for skill in "xy":
            assert sorted(did for doer in doers if doer.name[0] == skill for did in doer.did) == names
        assert all(doer.most_at_work <= 2 for doer in doers)


async def test_what_is_left_to_others_is_led_by_one_of_them(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again, options=FAST) as mesh:
        doer = Doer("a1", slots=20)
        await mesh.node("n1", doer)
        for number in range(3):
            await mesh.hub(f"willing{number}", is_willing=True)
        names = [f"t{number}" for number in range(9)]
        for name in names:
            await announcements.create(name, partial(_announced, name))
            await backend.events.publish(HUBS, {"a": name, "now": True})
        for name in names:
            assert (await ended(announcements, name)).state is COMPLETED
        assert sorted(doer.did) == names


def _announced(name: str, now_ms: int) -> Announcement:
    return announce(draft(name)(now_ms), now_ms=now_ms, rules=FAST.rules)


async def test_without_its_hub_an_announcement_ends_five_seconds_after_its_deadline_at_the_latest(
    open_again: OpenAgain, announcements: Announcements
) -> None:
    """With the times that hubs have unless they are told otherwise."""
    options = HubOptions(rules=Rules(lifetime_ms=3_000))
    async with living(open_again, options=options) as mesh:
        await mesh.hub("willing", is_willing=True)
        doomed = await mesh.hub("h1")
        await doomed.announce("t1", draft("t1"))
        await asyncio.sleep(0)
        kill(doomed)
        over = await ended(announcements, "t1", timeout=15)
        assert over.state is FAILED
        assert over.ended_ms <= over.deadline_ms + 5_000


async def test_a_marker_without_an_announcement_is_removed(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    await backend.records.create(marker_of("t1"), b"h1")
    async with living(open_again, options=FAST) as mesh:
        await mesh.hub("willing", is_willing=True)
        await wait_until(lambda: _nothing_is_open(announcements))


async def test_a_marker_whose_announcement_is_over_is_removed(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again, options=FAST) as mesh:
        hub = await mesh.hub("h1")
        await mesh.node("n1", Doer("a1"))
        await hub.announce("t1", draft("t1"))
        await ended(announcements, "t1")
        await backend.records.put(marker_of("t1"), b"h1")
        await mesh.hub("willing", is_willing=True)
        await wait_until(lambda: _nothing_is_open(announcements))


async def _nothing_is_open(announcements: Announcements) -> bool:
    return not await announcements.open_markers()


async def _dying(part: Part) -> str:
    """Work for ever on the first node, be quick on others."""
    if part.agent.startswith("doomed"):
        await asyncio.Event().wait()
    return part.agent


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_a_member_whose_node_is_gone_is_replaced_and_results_stay(
    open_again: OpenAgain,
    backend: Backend,
    announcements: Announcements,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_deaf: bool,
) -> None:
    """It is told by the log of nodes; where that is not heard, a look at who is here finds it."""
    monkeypatch.setattr(hub_module, "LOOK_AT_NODES_S", 0.3)
    async with living(open_again, options=FAST) as mesh:
        doomed = Doer("doomed", works=_dying)
        membership = await mesh.node("n1", doomed)
        steady = Doer("steady", skills=["y"])
        await mesh.node("n2", steady)
        hub = await mesh.hub("h1", is_deaf=is_deaf)
        await hub.announce("t1", draft("t1", "x", "y"))
        await wait_until(lambda: doomed.at_work and steady.did)
        spare = Doer("spare", works=_dying)
        await mesh.node("n3", spare)
        await backend.nodes.leave(membership)
        over = await ended(announcements, "t1")
        assert over.results == {"x": "spare", "y": "steady"}
        assert over.reformations == 1
        assert set(over.dead) == {"doomed"}
        await wait_until(lambda: not doomed.at_work)


async def test_an_invited_agent_whose_node_is_gone_is_replaced(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again, options=FAST) as mesh:
        silent = Doer("silent", works=_dying)
        membership = await mesh.node("n1", silent)
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1", "x", "y"))
        await wait_until(lambda: _offered(announcements, "t1", "silent"))
        await backend.nodes.leave(membership)
        await mesh.node("n2", Doer("a2", skills=["x", "y"]))
        over = await ended(announcements, "t1")
        assert over.results == {"x": "a2", "y": "a2"}
        assert not silent.did


async def _offered(announcements: Announcements, name: str, agent: str) -> bool:
    return agent in (await announcements.get(name)).announcement.offers


async def test_nobody_is_asked_whose_node_is_gone(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again, options=FAST) as mesh:
        membership = await mesh.node("n1", Doer("a1"))
        hub = await mesh.hub("h1")
        await hub.announce("t0", draft("t0"))
        await ended(announcements, "t0")
        await backend.nodes.leave(membership)
        async with backend.events.subscribe(node_place("n1"), node_place("n2")) as ear:
            await mesh.node("n2", Doer("a2"))
            await hub.announce("t1", draft("t1", "x", "y"))
            heard = [opened(hint) for _ in range(2) if (hint := await ear.get(timeout_ms=3_000)) is not None]
        assert [each.type for each in heard] == [GroupMessage.TASK_ANNOUNCE, GroupMessage.SKILL_QUERY]
        assert {agent for each in heard for agent in each.payload["agents"]} == {"a2"}


async def test_groups_go_on_when_the_store_was_away(tmp_path: Path) -> None:
    """Redis is killed and started again while a dozen groups form and work."""
    server = RedisServer(tmp_path)
    server.start(aof=True, options={"--appendfsync": "always"})
    backends: list[Backend] = []

    async def open_one() -> Backend:
        backends.append(await open_backend(server.url, BackendOptions(mesh="m1", timeout_ms=500)))
        return backends[-1]

    async def slowly(part: Part) -> str:
        await asyncio.sleep(0.05)
        return part.agent

    try:
        own = await open_one()
        announcements = Announcements(own.records)
        async with living(open_one, options=FAST) as mesh:
            doers = [Doer(f"{skill}{number}", [skill], works=slowly) for skill in "xy" for number in range(2)]
            await mesh.node("n1", *doers[::2])
            await mesh.node("n2", *doers[1::2])
            hub = await mesh.hub("h1")
            await mesh.hub("willing", is_willing=True)
            names = [f"t{number:02}" for number in range(12)]
            for name in names[:6]:
                await hub.announce(name, draft(name, "x", "y"))
            server.restart()
            for name in names[6:]:
                await hub.announce(name, draft(name, "x", "y"))
            for name in names:
                over = await ended(announcements, name, timeout=40)
                assert over.state is COMPLETED, over
            assert all(doer.most_at_work <= 5 for doer in doers)
            await wait_until(lambda: _books_are_free(own, [doer.name for doer in doers]), 15)
            assert list(await announcements.open_markers()) == []
    finally:
        for each in backends:
            await each.aclose()
        server.stop()
    assert {COMPLETED} <= set(OVER)
