"""The groups service on real stores, with real nodes that host agents: announce, wait, watch, call back, cancel."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from meshd import Mesh, Node, Settings
from meshd.errors import (
    AlreadyExistsError,
    DeadlineError,
    GroupFailedError,
    InvalidArgumentError,
    InvalidTransitionError,
    NoCandidateError,
    NotFoundError,
)
from meshd.groups.announced import GroupResults, Update
from meshd.groups.model import Announcement, AnnouncementState, Urgency
from meshd.runtime.agents import AutonomousAgent, GroupTask
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)


class Doer(AutonomousAgent):
    """Does what its payload says: waits for `go`, then returns what it was asked for."""

    def __init__(self, name: str, *skills: str, **more: Any) -> None:
        super().__init__(name, skills=skills, **more)
        self.go = asyncio.Event()
        self.go.set()
        self.at_work = 0
        self.most_at_work = 0
        self.fails = ""
        self.cancelled: list[str] = []

    async def on_start(self, task: GroupTask) -> Any:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await task.update(0.5, f"{self.name} half way")
            await self.go.wait()
            if self.fails:
                raise ValueError(self.fails)
            return {"by": self.name, "roles": list(task.roles), "payload": task.payload}
        finally:
            self.at_work -= 1

    async def on_cancel(self, task: GroupTask, reason: str) -> None:
        self.cancelled.append(reason)


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return Settings.load(
        mesh=mesh_name,
        heartbeat_interval_seconds=0.2,
        node_timeout_seconds=2.0,
        groups={"formation_seconds": 5, "offer_window_ms": 100, "hold_seconds": 1, "start_seconds": 1},
    )


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened:
        yield opened


@asynccontextmanager
async def hosting(store_url: str, settings: Settings, *agents: AutonomousAgent) -> AsyncGenerator[list[Node]]:
    """Let each agent live on a node of its own."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for agent in agents:
            node = Node(f"on-{agent.name}", grace=timedelta(seconds=0.1))
            node.host(agent)
            nodes.append(await stack.enter_async_context(node.running(store_url, settings=settings)))
        yield nodes


async def test_a_group_forms_works_and_its_results_come_by_role(mesh: Mesh, store_url: str, settings: Settings) -> None:
    pair = Doer("ana", "python=expert", "sql"), Doer("wil", "write=advanced")
    async with hosting(store_url, settings, *pair):
        work = await mesh.groups.announce("report", skills=["python>=advanced", "write", "sql"], payload={"q": 3})
        assert (await work.formed(SOON)).state in (AnnouncementState.FORMED, AnnouncementState.RUNNING)
        results = await work.result(SOON)
        assert {role: result["by"] for role, result in results.items()} == {
            "python": "ana",
            "sql": "ana",
            "write": "wil",
        }
        assert (results.is_partial, results.missing) == (False, ())
        assert results["write"]["payload"] == {"q": 3}
        found = await work.outcome()
        assert {agent: (part.node, part.is_done) for agent, part in found.members.items()} == {
            "ana": ("on-ana", True),
            "wil": ("on-wil", True),
        }


async def test_any_process_waits_and_times_out_cleanly_also_after_the_initiator_is_gone(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    doer = Doer("ana", "x")
    doer.go.clear()
    async with hosting(store_url, settings, doer):
        async with Mesh(store_url, settings=settings) as initiator:
            work = await initiator.groups.announce("slow", skills=["x"])
            await work.formed(SOON)
        with pytest.raises(DeadlineError, match=r"was not over within 0\.05 s; it goes on"):
            await mesh.groups.wait_for_task(work.id, timeout=timedelta(seconds=0.05))
        waiting = asyncio.create_task(mesh.groups.wait_for_task(work.id, timeout=SOON))
        doer.go.set()
        assert (await waiting).state is AnnouncementState.COMPLETED
    with pytest.raises(NotFoundError):
        await mesh.groups.wait_for_task("never-was")


async def test_the_initiator_is_called_back_as_it_goes_and_with_the_reason_of_a_failure(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    updates, completed, failed = list[Update](), list[GroupResults](), list[GroupFailedError]()
    good, bad = Doer("good", "x"), Doer("bad", "y")
    bad.fails = "no such table"
    async with hosting(store_url, settings, good, bad):

        async def on_update(update: Update) -> None:
            updates.append(update)

        first = await mesh.groups.announce("one", skills=["x"], on_update=on_update, on_complete=completed.append)
        assert await first.result(SOON)
        await wait_until(lambda: completed)
        assert completed[0]["x"]["by"] == "good"
        second = await mesh.groups.announce(
            "two", skills=["x", "y"], formation=timedelta(seconds=2), on_failure=failed.append
        )
        with pytest.raises(GroupFailedError) as caught:
            await second.result(SOON)
        await wait_until(lambda: failed)
        assert failed[0].reason == caught.value.reason
        assert "not covered: y" in caught.value.reason
        assert caught.value.results["x"]["by"] == "good"
        found = await second.outcome()
        assert found.refused == {"bad": "ValueError: no such table"}


async def test_updates_are_called_back(mesh: Mesh, store_url: str, settings: Settings) -> None:
    updates = list[Update]()
    doer = Doer("ana", "x")
    doer.go.clear()
    async with hosting(store_url, settings, doer):
        work = await mesh.groups.announce("slow", skills=["x"], on_update=updates.append)
        await wait_until(lambda: updates)
        doer.go.set()
        await work.result(SOON)
        assert {(update.agent, update.progress, update.note) for update in updates} == {("ana", 0.5, "ana half way")}


async def test_callbacks_are_taken_up_again_by_another_life_of_the_initiator(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    completed = list[GroupResults]()
    doer = Doer("ana", "x")
    doer.go.clear()
    async with hosting(store_url, settings, doer):
        async with Mesh(store_url, settings=settings) as initiator:
            work = await initiator.groups.announce("slow", skills=["x"])
            await work.formed(SOON)
        await mesh.groups.follow(work.id, on_complete=completed.append)
        doer.go.set()
        await wait_until(lambda: completed, 20)
        assert completed[0]["x"]["by"] == "ana"


async def test_phase_two_begins_only_after_phase_one_has_completed_and_gets_its_results(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    seen = dict[str, Any]()

    class Second(Doer):
        async def on_start(self, task: GroupTask) -> Any:
            seen.update(task.results)
            return "done"

    first, second = Doer("ana", "x"), Second("bea", "y")
    first.go.clear()
    async with hosting(store_url, settings, first, second):
        one = await mesh.groups.announce("one", skills=["x"], id="one")
        two = await mesh.groups.announce("two", skills=["y"], depends_on=["one"])
        await one.formed(SOON)
        assert (await two.status()).state is AnnouncementState.WAITING
        first.go.set()
        assert await two.result(SOON) == {"y": "done"}
        before, after = await one.status(), await two.status()
        assert before.ended_ms <= after.formed_ms
        assert seen["one"]["x"]["by"] == "ana"


async def test_a_phase_whose_phase_before_failed_fails_and_says_so(mesh: Mesh) -> None:
    one = await mesh.groups.announce("one", skills=["nobody"], id="one")
    two = await mesh.groups.announce("two", skills=["x"], depends_on=["one"])
    await one.cancel("not wanted")
    with pytest.raises(GroupFailedError, match="one"):
        await two.result(SOON)


async def test_parts_of_parts_roll_their_results_up(mesh: Mesh, store_url: str, settings: Settings) -> None:
    class Lead(Doer):
        async def on_start(self, task: GroupTask) -> Any:
            parts = await task.delegate("a part", skills=["y"], payload=task.payload + 1, priority="high")
            return {"whole": parts["y"], "parent": task.id}

    class Middle(Doer):
        async def on_start(self, task: GroupTask) -> Any:
            parts = await task.delegate("a part of the part", skills=["z"], payload=task.payload + 1)
            return parts["z"]["payload"] * 10

    async with hosting(store_url, settings, Lead("lead", "x"), Middle("mid", "y"), Doer("hand", "z")):
        work = await mesh.groups.announce("whole", skills=["x"], payload=0)
        assert await work.result(SOON) == {"x": {"whole": 20, "parent": work.id}}
        (part,) = await mesh.groups.children(work.id)
        (below,) = await mesh.groups.children(part.id)
        assert [(each.state, each.initiator, each.urgency) for each in (part, below)] == [
            (AnnouncementState.COMPLETED, "on-lead", Urgency.HIGH),
            (AnnouncementState.COMPLETED, "on-mid", Urgency.HIGH),
        ]


async def test_cancelling_stops_the_members_and_the_parts_and_is_once(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    hand = Doer("hand", "y")
    hand.go.clear()

    class Lead(Doer):
        async def on_start(self, task: GroupTask) -> Any:
            return dict(await task.delegate("a part", skills=["y"]))

    lead = Lead("lead", "x")
    async with hosting(store_url, settings, lead, hand):
        work = await mesh.groups.announce("whole", skills=["x"])
        await wait_until(lambda: hand.at_work, 10)
        cancelled = await work.cancel("changed my mind")
        assert (cancelled.state, cancelled.reason) == (
            AnnouncementState.CANCELLED,
            f"cancelled by {mesh.groups.options.initiator}: changed my mind",
        )
        assert (await work.cancel()).ended_ms == cancelled.ended_ms
        await wait_until(lambda: not hand.at_work, 20)
        (part,) = await mesh.groups.children(work.id)
        assert (await mesh.groups.wait_for_task(part.id, timeout=SOON)).state is AnnouncementState.CANCELLED
        with pytest.raises(GroupFailedError, match="is cancelled"):
            await work.result(SOON)


async def test_a_partial_group_starts_and_its_result_is_labelled(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with hosting(store_url, settings, Doer("ana", "x")):
        work = await mesh.groups.announce(
            "half", skills=["x", "levitate"], partial="start", formation=timedelta(seconds=1)
        )
        results = await work.result(SOON)
        assert (set(results), results.is_partial, results.missing) == ({"x"}, True, ("levitate",))


async def test_the_same_id_and_work_is_the_same_announcement_and_other_work_is_refused(mesh: Mesh) -> None:
    first = await mesh.groups.announce("a", skills=["nobody"], id="mine", payload=[1])
    again = await mesh.groups.announce("a", skills=["nobody"], id="mine", payload=[1])
    assert (await first.status()).announced_ms == (await again.status()).announced_ms
    with pytest.raises(AlreadyExistsError, match="mine"):
        await mesh.groups.announce("b", skills=["nobody"], id="mine", payload=[1])
    await first.cancel()


async def test_nobody_who_could_is_a_clear_refusal_if_asked_for(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with hosting(store_url, settings, Doer("ana", "x=novice")):
        with pytest.raises(NoCandidateError, match="no live agent has x>=expert"):
            await mesh.groups.announce("a", skills=["x>=expert"], unserved="refuse")
        work = await mesh.groups.announce("a", skills=["x"], unserved="refuse")
        assert await work.result(SOON)
    with pytest.raises(InvalidArgumentError, match="not wait or refuse"):
        await mesh.groups.announce("a", skills=["x"], unserved="maybe")


async def test_closing_a_mesh_cancels_the_waits_in_it(store_url: str, settings: Settings) -> None:
    async with Mesh(store_url, settings=settings) as mesh:
        work = await mesh.groups.announce("a", skills=["nobody"], detach=True)
        waiting = asyncio.create_task(work.result())
        await asyncio.wait({waiting}, timeout=0.1)
    await asyncio.wait({waiting}, timeout=5)
    assert waiting.cancelled()


async def test_what_is_over_cannot_be_cancelled(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with hosting(store_url, settings, Doer("ana", "x")):
        work = await mesh.groups.announce("a", skills=["x"])
        await work.result(SOON)
        with pytest.raises(InvalidTransitionError):
            await work.cancel()


async def test_a_watch_shows_every_stage_as_it_comes_and_ends_with_the_group(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    doer = Doer("ana", "x")
    doer.go.clear()
    async with hosting(store_url, settings, doer):
        work = await mesh.groups.announce("a", skills=["x"])
        seen = list[Announcement]()
        async for each in mesh.groups.watch(work.id):
            seen.append(each)
            if each.members and each.members["ana"].note == "ana half way":
                doer.go.set()
        assert seen[-1].state is AnnouncementState.COMPLETED
        assert AnnouncementState.RUNNING in {each.state for each in seen}


async def test_a_watch_of_all_shows_who_comes_and_goes(mesh: Mesh) -> None:
    first = await mesh.groups.announce("a", skills=["nobody"], detach=True, id="w-1")
    watch = mesh.groups.watch()
    assert (await anext(watch)).id == "w-1"
    second = await mesh.groups.announce("b", skills=["nobody"], detach=True, id="w-2")
    await second.cancel("enough")
    async with asyncio.timeout(20):
        while (found := await anext(watch)).id != "w-2":
            continue
    assert found.state is AnnouncementState.CANCELLED
    await watch.aclose()
    await first.cancel()


async def test_lists_are_by_state(mesh: Mesh) -> None:
    made = [await mesh.groups.announce("a", skills=["nobody"], detach=True, id=f"l-{n}") for n in range(3)]
    await made[1].cancel()
    assert [each.id for each in await mesh.groups.list(state="open")] == ["l-0", "l-2"]
    assert [each.id for each in await mesh.groups.list(state="open", after="l-0", limit=1)] == ["l-2"]
    assert [each.id for each in await mesh.groups.list(state="cancelled")] == ["l-1"]
    assert [each.id for each in await mesh.groups.list(limit=2)] == ["l-0", "l-1"]
    with pytest.raises(InvalidArgumentError, match="state 'asleep' is not one of open, waiting"):
        await mesh.groups.list(state="asleep")
    with pytest.raises(InvalidArgumentError, match="limit 0 is not 1 to 1000"):
        await mesh.groups.list(limit=0)
    for each in (made[0], made[2]):
        await each.cancel()


async def test_a_member_at_work_that_is_not_heard_of_is_pointed_out(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    ana = Doer("ana", "x")
    ana.go.clear()
    async with hosting(store_url, settings, ana):
        work = await mesh.groups.announce("a", skills=["x"])

        async def are_silent() -> bool:
            found = await mesh.groups.get(work.id)
            return [each.agent for each in mesh.groups.stalled(found, after=timedelta(milliseconds=50))] == ["ana"]

        await wait_until(are_silent, 20)
        assert mesh.groups.stalled(await mesh.groups.get(work.id)) == ()
        ana.go.set()
        await work.result(SOON)
        assert mesh.groups.stalled(await mesh.groups.get(work.id), after=timedelta(0)) == ()


async def test_skills_and_reasons_are_read_from_any_process(mesh: Mesh, store_url: str, settings: Settings) -> None:
    ana, nov = Doer("ana", "x=expert"), Doer("nov", "x=novice")
    ana.go.clear()
    async with hosting(store_url, settings, ana, nov):
        assert {each.agent for each in await mesh.groups.holders("x")} == {"ana", "nov"}
        assert [each.agent for each in await mesh.groups.agents("x", level="advanced")] == ["ana"]
        work = await mesh.groups.announce("a", skills=["x>=advanced"])
        await work.formed(SOON)
        await wait_until(lambda: ana.at_work, 10)
        explained = await mesh.groups.explain(work.id, agent="nov")
        assert [(each.agent, each.roles) for each in explained.chosen] == [("ana", ("x",))]
        assert explained.chosen[0].scored is not None
        assert explained.chosen[0].scored.terms
        assert explained.price is not None
        assert [(each.agent, each.skills) for each in explained.others] == [("nov", ())]
        with pytest.raises(NotFoundError, match="'who' is not known here"):
            await mesh.groups.explain(work.id, agent="who")
        ana.go.set()
        await work.result(SOON)
