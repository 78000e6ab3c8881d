"""Hubs on real stores, with real agents on nodes: announced, offered, invited, worked on, ended."""

import asyncio

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.errors import AlreadyExistsError, BackpressureError, InvalidArgumentError
from meshd.groups.announcements import Announcements
from meshd.groups.behaviour import Part
from meshd.groups.happenings import TaskCancelled
from meshd.groups.hub import Hub
from meshd.groups.leading import HubOptions
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, PartialPolicy
from meshd.groups.protocol import apply
from meshd.groups.steps import Rules
from meshd.groups.wire import Post, node_place, opened
from tests.conftest import OpenAgain
from tests.groups.living import Doer, draft, ended, living
from tests.support.waiting import wait_until

FAST = HubOptions(
    rules=Rules(offer_window_ms=100, hold_ms=600, hold_margin_ms=100, start_ms=1_000, formation_ms=10_000),
    query_ms=300,
    lease_ms=300,
    look_ms=200,
    litter_ms=1_000,
)
COMPLETED, FAILED, CANCELLED = AnnouncementState.COMPLETED, AnnouncementState.FAILED, AnnouncementState.CANCELLED


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    """The store's own clock."""
    return BackendOptions(mesh=mesh_name)


@pytest.fixture
def announcements(backend: Backend) -> Announcements:
    return Announcements(backend.records)


async def cancel(backend: Backend, name: str) -> Announcement:
    """Cancel as anybody may, from another process."""
    announcements, post = Announcements(backend.records), Post(backend.events, sender="test")
    done = await announcements.change(
        name, lambda now, now_ms: apply(now, TaskCancelled(by="test"), now_ms=now_ms, rules=FAST.rules)
    )
    await post.carry(done)
    await post.changed(done.announcement)
    return done.announcement


async def test_one_is_asked_and_does_it(open_again: OpenAgain, announcements: Announcements) -> None:
    async with living(open_again) as mesh:
        doer = Doer("a1")
        await mesh.node("n1", doer)
        hub = await mesh.hub("h1")
        made = await hub.announce("t1", draft("t1"))
        assert made.state is AnnouncementState.ANNOUNCED
        over = await ended(announcements, "t1")
        assert (over.state, over.results) == (COMPLETED, {"x": "a1"})
        assert doer.did == ["t1"]
        await wait_until(lambda: not hub.leads)
        assert list(await announcements.open_markers()) == []


async def test_a_group_covers_every_skill_across_nodes(open_again: OpenAgain, announcements: Announcements) -> None:
    async with living(open_again) as mesh:
        for number, skill in enumerate("wxyz"):
            await mesh.node(f"n{number}", *(Doer(f"{skill}{each}", skills=[skill]) for each in range(3)))
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1", "w", "x", "y", "z"))
        over = await ended(announcements, "t1")
        assert over.state is COMPLETED
        assert {skill: agent[0] for skill, agent in over.results.items()} == {skill: skill for skill in "wxyz"}
        assert len(over.members) == 4


async def test_an_announcement_reaches_every_holder_once(open_again: OpenAgain, backend: Backend) -> None:
    async with living(open_again, options=FAST) as mesh:
        await mesh.node("n1", Doer("a1"), Doer("a2"), Doer("b1", skills=["y"]))
        await mesh.node("n2", Doer("a3"), Doer("a4", slots=1))
        hub = await mesh.hub("h1")
        async with backend.events.subscribe(node_place("n1"), node_place("n2")) as ear:
            await hub.announce("t1", draft("t1"))
            heard = [opened(hint) for _ in range(2) if (hint := await ear.get(timeout_ms=2_000)) is not None]
            assert await ear.get(timeout_ms=500) is None
        assert [each.type for each in heard] == [GroupMessage.TASK_ANNOUNCE] * 2
        assert sorted(agent for each in heard for agent in each.payload["agents"]) == ["a1", "a2", "a3", "a4"]


async def test_who_rejects_is_replaced(open_again: OpenAgain, announcements: Announcements) -> None:
    async with living(open_again, options=FAST) as mesh:
        await mesh.node("n1", Doer("a1", refuses="not today"))
        await mesh.node("n2", Doer("a2"))
        hub = await mesh.hub("h1")
        for number in range(4):
            await hub.announce(f"t{number}", draft(f"t{number}"))
        overs = [await ended(announcements, f"t{number}") for number in range(4)]
        assert [over.results for over in overs] == [{"x": "a2"}] * 4
        refused = [over.refused for over in overs if over.refused]
        assert refused
        assert all(each == {"a1": "not today"} for each in refused)


async def test_who_comes_later_fills_the_gap(open_again: OpenAgain, announcements: Announcements) -> None:
    async with living(open_again, options=FAST) as mesh:
        await mesh.node("n1", Doer("a1"))
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1", "x", "y"))
        await wait_until(lambda: _offers(announcements, "t1", 1))
        await mesh.node("n2", Doer("b1", skills=["y"]))
        over = await ended(announcements, "t1")
        assert over.results == {"x": "a1", "y": "b1"}


async def _offers(announcements: Announcements, name: str, count: int) -> bool:
    return len((await announcements.get(name)).announcement.offers) >= count


async def test_without_anybody_it_fails_at_the_end_of_its_time_to_form(
    open_again: OpenAgain, announcements: Announcements
) -> None:
    options = HubOptions(rules=Rules(formation_ms=500))
    async with living(open_again, options=options) as mesh:
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1"))
        over = await ended(announcements, "t1")
        assert (over.state, over.reason) == (FAILED, "no group was formed in time; not covered: x")
        assert over.ended_ms - over.forms_until_ms < 2_000


async def test_part_of_a_group_starts_where_that_is_allowed(
    open_again: OpenAgain, announcements: Announcements
) -> None:
    options = HubOptions(rules=Rules(formation_ms=700, offer_window_ms=100))
    async with living(open_again, options=options) as mesh:
        await mesh.node("n1", Doer("a1"))
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1", "x", "y", partial=PartialPolicy.START))
        over = await ended(announcements, "t1")
        assert (over.state, over.is_partial, over.results) == (COMPLETED, True, {"x": "a1"})


async def test_one_slot_serves_one_after_another(open_again: OpenAgain, announcements: Announcements) -> None:
    async def slowly(part: Part) -> str:
        await asyncio.sleep(0.02)
        return part.agent

    async with living(open_again, options=FAST) as mesh:
        doer = Doer("a1", slots=1, works=slowly)
        await mesh.node("n1", doer)
        hub = await mesh.hub("h1")
        names = [f"t{number}" for number in range(8)]
        await asyncio.gather(*(hub.announce(name, draft(name)) for name in names))
        for name in names:
            assert (await ended(announcements, name)).state is COMPLETED
        assert sorted(doer.did) == names
        assert doer.most_at_work == 1


async def test_a_group_that_ends_meanwhile_is_led_no_more(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again, options=FAST) as mesh:
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1"))
        assert hub.leads == ["t1"]
        await cancel(backend, "t1")
        await wait_until(lambda: not hub.leads)


async def test_what_is_refused_is_refused_before_anything_is_written(
    open_again: OpenAgain, announcements: Announcements
) -> None:
    async with living(open_again) as mesh:
        hub = await mesh.hub("h1")
        with pytest.raises(InvalidArgumentError, match="group of 0"):
            await hub.announce("t1", draft("t1", max_size=0))
        assert list(await announcements.open_markers()) == []
        await hub.announce("t1", draft("t1"))
        with pytest.raises(AlreadyExistsError):
            await hub.announce("t1", draft("t1"))
        assert hub.leads == ["t1"]


async def test_the_one_too_many_is_refused_until_one_ends(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again) as mesh:
        hub = await mesh.hub("h1", max_open=2)
        await hub.announce("t1", draft("t1"))
        await hub.announce("t2", draft("t2"))
        with pytest.raises(BackpressureError, match=r"groups\.max_announcements"):
            await hub.announce("t3", draft("t3"))
        await cancel(backend, "t1")
        await hub.announce("t3", draft("t3"))


async def test_hubs_that_announce_at_once_lead_what_there_is_room_for_and_nothing_else(
    open_again: OpenAgain, announcements: Announcements
) -> None:
    async with living(open_again) as mesh:
        hubs = [await mesh.hub(f"h{number}", max_open=5) for number in range(3)]
        names = [f"t{number:02}" for number in range(30)]
        told = await asyncio.gather(
            *(hubs[at % 3].announce(name, draft(name)) for at, name in enumerate(names)), return_exceptions=True
        )
        refused = [each for each in told if isinstance(each, BackpressureError)]
        assert len(refused) == 25
        assert all("groups.max_announcements" in str(each) for each in refused)
        led = sorted(name for hub in hubs for name in hub.leads)
        assert led == [name for name, each in zip(names, told, strict=True) if not isinstance(each, BaseException)]
        assert [each.id for each in await announcements.list()] == led
        assert [marker.id for marker in await announcements.open_markers()] == led


async def test_phase_two_begins_when_phase_one_has_completed(
    open_again: OpenAgain, announcements: Announcements
) -> None:
    order: list[str] = []
    gate = asyncio.Event()

    async def noted(part: Part) -> str:
        if part.announcement.id == "one":
            await gate.wait()
        order.append(part.announcement.id)
        return part.announcement.id

    async with living(open_again, options=FAST) as mesh:
        await mesh.node("n1", Doer("a1", works=noted))
        first, second = await mesh.hub("h1"), await mesh.hub("h2")
        await first.announce("one", draft("one"))
        await second.announce("two", draft("two", depends_on=("one",)))
        await wait_until(lambda: _state(announcements, "one", AnnouncementState.RUNNING))
        assert await _state(announcements, "two", AnnouncementState.WAITING)
        gate.set()
        assert (await ended(announcements, "two")).state is COMPLETED
        assert order == ["one", "two"]


async def _state(announcements: Announcements, name: str, state: AnnouncementState) -> bool:
    return (await announcements.get(name)).announcement.state is state


async def test_when_phase_one_fails_so_does_phase_two(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async with living(open_again, options=FAST) as mesh:
        hub = await mesh.hub("h1")
        await hub.announce("one", draft("one"))
        await hub.announce("two", draft("two", depends_on=("one",)))
        await hub.announce("three", draft("three", depends_on=("two", "one")))
        await cancel(backend, "one")
        two, three = await ended(announcements, "two"), await ended(announcements, "three")
        assert (two.state, two.reason) == (FAILED, "it waited for one, which is cancelled")
        assert three.state is FAILED


async def test_what_waits_for_nothing_that_is_kept_fails(open_again: OpenAgain, announcements: Announcements) -> None:
    async with living(open_again, options=FAST) as mesh:
        hub = await mesh.hub("h1")
        await hub.announce("t1", draft("t1", depends_on=("nowhere",)))
        assert (await ended(announcements, "t1")).reason == "it waited for nowhere, which is not kept (any more)"


async def test_a_part_ends_with_its_whole(
    open_again: OpenAgain, backend: Backend, announcements: Announcements
) -> None:
    async def forever(part: Part) -> None:
        del part
        await asyncio.Event().wait()

    async with living(open_again, options=FAST) as mesh:
        doer = Doer("a1", works=forever)
        await mesh.node("n1", doer)
        first, second = await mesh.hub("h1"), await mesh.hub("h2")
        await first.announce("whole", draft("whole", "nothing"))
        await second.announce("part", draft("part", parent="whole"))
        await wait_until(lambda: doer.at_work)
        await cancel(backend, "whole")
        part = await ended(announcements, "part")
        assert (part.state, part.reason) == (CANCELLED, "whole, which it is a part of, is cancelled")
        await wait_until(lambda: not doer.at_work)


async def test_a_hub_that_leads_nothing_says_nothing(open_again: OpenAgain, announcements: Announcements) -> None:
    async with living(open_again, options=FAST) as mesh:
        hub: Hub = await mesh.hub("h1")
        assert await announcements.living_hubs() == set()
        await hub.announce("t1", draft("t1"))
        await wait_until(announcements.living_hubs)
        await hub.aclose()
        assert await announcements.living_hubs() == set()
