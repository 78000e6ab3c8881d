"""What a node does for its agents in groups, on real stores, with real hubs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from meshd import GroupTask, Mesh, Node, Settings
from meshd.errors import GroupFailedError
from meshd.events import Hint
from meshd.groups.model import AnnouncementState, GroupMessage, Reputation
from meshd.groups.registry import Registry
from meshd.groups.wire import Envelope, Post, opened, place_of
from tests.groups.crews import SOON, Choosy, Worker, crew, ended, enrolment, quick_settings, until_free
from tests.support.waiting import wait_until


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return quick_settings(mesh_name)


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened_mesh:
        yield opened_mesh


async def test_a_group_forms_works_delivers_and_is_free_again(mesh: Mesh, store_url: str, settings: Settings) -> None:
    ana, bob = Worker("ana", "python"), Worker("bob", "sql")
    async with crew(store_url, settings, ana, bob):
        announced = await mesh.groups.announce("count", skills=["python", "sql"], payload={"n": 1})
        assert await announced.result(SOON) == {"python": "ana", "sql": "bob"}
        await until_free(mesh, "ana", "bob")
        for name in ("ana", "bob"):
            known = (await enrolment(mesh, name)).candidate
            assert (known.reputation.completed, known.availability) == (1, 1.0)
        part = ana.parts[0]
        assert (part.description, part.payload, part.roles) == ("count", {"n": 1}, ("python",))
        assert part.members == {"ana": ("python",), "bob": ("sql",)}


async def test_an_agent_rejects_with_a_reason_and_is_replaced(mesh: Mesh, store_url: str, settings: Settings) -> None:
    shy, ana = Choosy("shy"), Worker("ana")
    shy.answer = "on holiday"
    async with crew(store_url, settings, shy):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: mesh.groups.get(announced.id), timeout=5)

        async def is_refused() -> bool:
            return "shy" in (await mesh.groups.get(announced.id)).refused

        await wait_until(is_refused, timeout=10)
        async with crew(store_url, settings, ana, name="second"):
            found = await ended(announced)
            assert (found.results, found.refused["shy"]) == ({"python": "ana"}, "on holiday")
            assert "shy" not in found.members
            await until_free(mesh, "shy", "ana")
            assert (await enrolment(mesh, "shy")).candidate.reputation == Reputation()


async def test_who_does_not_want_to_does_not_offer(mesh: Mesh, store_url: str, settings: Settings) -> None:
    shy, ana = Choosy("shy"), Worker("ana")
    shy.wants_it = False
    async with crew(store_url, settings, shy, ana):
        for _ in range(5):
            announced = await mesh.groups.announce("count", skills=["python"], priority="high")
            assert await announced.result(SOON) == {"python": "ana"}
        assert {call.initiator for call in shy.calls}
        assert shy.calls[0].description == "count"


async def test_a_handler_that_raises_is_a_failure_with_its_reason_and_another_takes_over(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    bad = Worker("bad", fails="no such table")
    async with crew(store_url, settings, bad):
        announced = await mesh.groups.announce("count", skills=["python"], deadline=timedelta(seconds=15))

        async def is_refused() -> bool:
            return "bad" in (await mesh.groups.get(announced.id)).refused

        await wait_until(is_refused, timeout=10)
        async with crew(store_url, settings, Worker("good"), name="second"):
            found = await ended(announced)
            assert found.results == {"python": "good"}
            assert found.refused["bad"] == "RuntimeError: no such table"
            await until_free(mesh, "bad", "good")
            assert (await enrolment(mesh, "bad")).candidate.reputation.failed == 1
            assert (await enrolment(mesh, "good")).candidate.reputation.completed == 1


async def test_a_result_that_has_no_json_form_is_a_failure_that_says_so(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    class Odd(Worker):
        async def on_start(self, task: GroupTask) -> object:
            return object()

    async with crew(store_url, settings, Odd("odd")):
        announced = await mesh.groups.announce("count", skills=["python"], deadline=timedelta(seconds=3))
        found = await ended(announced)
        assert found.state is AnnouncementState.FAILED
        assert "its result cannot be kept" in found.refused["odd"]
        await until_free(mesh, "odd")


async def test_a_sixth_group_at_once_waits_until_a_slot_is_free(mesh: Mesh, store_url: str, settings: Settings) -> None:
    ana = Worker("ana", is_held=True)
    async with crew(store_url, settings, ana):
        made = [await mesh.groups.announce("count", skills=["python"]) for _ in range(6)]
        await wait_until(lambda: ana.at_work == 5, timeout=15)
        assert (await enrolment(mesh, "ana")).book.free == 0
        ana.gate.set()
        assert [await each.result(SOON) for each in made] == [{"python": "ana"}] * 6
        assert ana.most_at_work == 5
        await until_free(mesh, "ana")


async def test_what_is_urgent_is_served_before_what_was_announced_before(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana = Worker("ana", slots=1, is_held=True)
    async with crew(store_url, settings, ana):
        first = await mesh.groups.announce("first", skills=["python"])
        await wait_until(lambda: ana.at_work == 1, timeout=15)
        low = await mesh.groups.announce("low", skills=["python"], priority="low")
        high = await mesh.groups.announce("high", skills=["python"], priority="high")
        await asyncio.sleep(0.5)
        ana.gate.set()
        for each in (first, low, high):
            await each.result(SOON)
        assert [part.description for part in ana.parts] == ["first", "high", "low"]


async def test_progress_is_told_to_the_initiator_and_to_the_other_members(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana, bob = Worker("ana", "python", is_held=True), Worker("bob", "sql", is_held=True)
    updates: list[tuple[str, float, str]] = []
    async with crew(store_url, settings, ana), crew(store_url, settings, bob, name="second"):
        announced = await mesh.groups.announce(
            "count",
            skills=["python", "sql"],
            on_update=lambda update: updates.append((update.agent, update.progress, update.note)),
        )
        await wait_until(lambda: ana.at_work and bob.at_work, timeout=15)
        await ana.parts[0].update(0.25, "a quarter")
        await ana.parts[0].update(0.5, "half")
        await wait_until(lambda: ("ana", 0.5, "half") in updates, timeout=10)
        await wait_until(lambda: any(each.note == "half" for each in bob.heard), timeout=10)
        assert (await mesh.groups.get(announced.id)).members["ana"].progress == 0.5
        ana.gate.set()
        bob.gate.set()
        await announced.result(SOON)


async def test_many_updates_are_few_writes_and_the_last_is_written(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana = Worker("ana", is_held=True)
    async with crew(store_url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: ana.at_work, timeout=15)
        before = await mesh.records.get(f"announcement/{announced.id}")
        for number in range(100):
            await ana.parts[0].update(number / 100, str(number))

        async def is_written() -> bool:
            return (await mesh.groups.get(announced.id)).members["ana"].note == "99"

        await wait_until(is_written, timeout=10)
        after = await mesh.records.get(f"announcement/{announced.id}")
        assert before is not None
        assert after is not None
        ana.gate.set()
        await announced.result(SOON)


async def test_cancelling_stops_the_handlers_and_frees_the_slots(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana, bob = Worker("ana", "python", is_held=True), Worker("bob", "sql", is_held=True)
    async with crew(store_url, settings, ana), crew(store_url, settings, bob, name="second"):
        announced = await mesh.groups.announce("count", skills=["python", "sql"])
        await wait_until(lambda: ana.at_work and bob.at_work, timeout=15)
        await announced.cancel("not needed")
        await wait_until(lambda: ana.stopped_for and bob.stopped_for, timeout=10)
        assert (ana.at_work, bob.at_work) == (0, 0)
        assert "not needed" in ana.stopped_for[0]
        await until_free(mesh, "ana", "bob")
        assert (await enrolment(mesh, "ana")).candidate.reputation == Reputation()
        with pytest.raises(GroupFailedError):
            await announced.result(SOON)


async def test_an_end_that_nobody_told_of_is_found_by_looking(
    mesh: Mesh, store_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.groups.accepting.UNHEARD_S", 1.0)
    ana = Worker("ana", is_held=True)
    async with crew(store_url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: ana.at_work, timeout=15)
        record = await mesh.records.get(f"announcement/{announced.id}")
        assert record is not None
        await mesh.records.delete(record.key)
        await until_free(mesh, "ana")
        assert (ana.at_work, ana.stopped_for) == (0, ["it is kept no more"])


async def test_an_invitation_that_was_lost_or_comes_twice_is_answered_once(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana = Worker("ana", is_held=True)
    async with crew(store_url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: ana.at_work, timeout=15)
        member = (await mesh.groups.get(announced.id)).members["ana"]
        post = Post(mesh.events, sender="again")
        for type in (GroupMessage.GROUP_INVITE, GroupMessage.TASK_START):
            said = {
                "round": member.round,
                "incarnation": member.incarnation,
                "roles": ["python"],
                "expires_ms": member.updated_ms + 60_000,
                "epoch": member.epoch,
                "token": member.token,
            }
            for _ in range(3):
                await post.send(
                    place_of("ana"), Envelope(type=type, announcement=announced.id, sender="again", payload=said)
                )
        ana.gate.set()
        await announced.result(SOON)
        assert len(ana.parts) == 1
        await until_free(mesh, "ana")
        assert (await enrolment(mesh, "ana")).candidate.reputation.completed == 1


async def test_every_member_and_the_initiator_is_told_that_the_group_is_formed_and_starts_once(
    store_url: str, settings: Settings
) -> None:
    heard: list[Hint] = []
    places = [place_of(name) for name in ("boss", "ana", "bob")]
    own = settings.model_copy(update={"node_name": "boss"})
    async with (
        Mesh(store_url, settings=own) as mesh,
        crew(store_url, settings, Worker("ana", "python")),
        crew(store_url, settings, Worker("bob", "sql"), name="second"),
        mesh.events.subscribe(*places) as subscription,
    ):
        announced = await mesh.groups.announce("count", skills=["python", "sql"])
        await announced.result(SOON)
        while (hint := await subscription.get(timeout_ms=300)) is not None:
            heard.append(hint)
    said = [(opened(hint).type, hint.topic) for hint in heard]
    assert said.count((GroupMessage.GROUP_FORMED, places[0])) == 1
    assert said.count((GroupMessage.TASK_COMPLETE, places[0])) == 1
    formed = [topic for type, topic in said if type is GroupMessage.GROUP_FORMED and topic != places[0]]
    started = [topic for type, topic in said if type is GroupMessage.TASK_START]
    assert len(formed) == len(started) == 1, "the member on the other node; the one that formed it knows"


async def test_a_node_that_leaves_lets_work_go_on_for_its_grace_and_then_gives_it_up(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana, bob = Worker("ana", is_held=True), Worker("bob")
    async with crew(store_url, settings, ana):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: ana.at_work, timeout=15)
    assert ana.stopped_for == ["its node leaves the mesh"]
    await until_free(mesh, "ana")
    assert not await Registry(mesh.records).holders("python")
    async with crew(store_url, settings, bob, name="second"):
        found = await ended(announced)
        assert found.results == {"python": "bob"}
        assert found.refused["ana"] == "its node leaves the mesh"
        assert (await enrolment(mesh, "ana")).candidate.reputation == Reputation()


async def test_work_that_ends_within_the_grace_of_a_node_that_leaves_counts(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana = Worker("ana", is_held=True)
    async with crew(store_url, settings, ana) as node:
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: ana.at_work, timeout=15)
        asyncio.get_running_loop().call_later(0.5, ana.gate.set)
        node.stop()
    assert await announced.result(SOON) == {"python": "ana"}
    assert (await enrolment(mesh, "ana")).candidate.reputation.completed == 1


async def test_what_an_agent_can_do_is_said_anew_now_and_then(mesh: Mesh, store_url: str, mesh_name: str) -> None:
    settings = quick_settings(mesh_name, skill_update_seconds=1.0)
    async with crew(store_url, settings, Worker("ana")):
        prefix = "skill/python/"
        before = (await mesh.records.list(prefix))[0]

        async def is_renewed() -> bool:
            return (await mesh.records.list(prefix))[0].revision > before.revision

        await wait_until(is_renewed, timeout=15)
        assert [each.agent for each in await Registry(mesh.records).holders("python")] == ["ana"]


async def test_an_agent_lives_in_one_place_and_its_later_life_has_its_slots(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    old, new = Worker("ana", is_held=True), Worker("ana")
    async with crew(store_url, settings, old):
        announced = await mesh.groups.announce("count", skills=["python"])
        await wait_until(lambda: old.at_work, timeout=15)
        async with Node("second").host(new).running(store_url, settings=settings):
            found = await ended(announced)
            assert found.results == {"python": "ana"}
            assert len(new.parts) == 1
            assert found.members["ana"].node == "second"
            await until_free(mesh, "ana")
            await wait_until(lambda: old.at_work == 0, timeout=15)
