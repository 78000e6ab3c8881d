"""Partitions, evidence and uptime, as the service reads them from either store."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import FencedError, InvalidArgumentError, NotFoundError
from meshd.nodes.history import splits
from meshd.nodes.model import Membership, NodeTimings, Sightings, Verdict
from meshd.nodes.observing import SplitObserver
from meshd.nodes.partitions import Change
from meshd.nodes.service import NodeService
from meshd.nodes.verdicts import Condition
from meshd.records import Guard
from tests.support.builders import a_profile, vitals

HEARTBEAT_MS = NodeTimings().heartbeat_ms
TIMEOUT_MS = NodeTimings().timeout_ms

Members = Mapping[str, Membership]


async def call_nobody(_node_id: str) -> None:
    return None


@pytest.fixture
def nodes(backend: Backend) -> NodeService:
    return NodeService(
        backend.nodes, events=backend.events, open_counts=backend.tasks.open_counts, call_node=call_nobody
    )


@pytest.fixture
async def members(backend: Backend) -> Members:
    return {name: await backend.nodes.join(a_profile(name), vitals()) for name in ("n1", "n2", "n3", "n4", "n5")}


async def see(backend: Backend, members: Members, *sides: Iterable[str], since_ms: int = 0) -> None:
    """Have every node report that it reaches its own side and, since then, nobody else."""
    for side in map(set, sides):
        for node in side:
            seen = Sightings(
                reached=frozenset(side - {node}),
                unreached=dict.fromkeys(members.keys() - side, since_ms),
                round_trip_ms=dict.fromkeys(side - {node}, 0.5),
            )
            await backend.nodes.sight(members[node], seen)


async def beat(backend: Backend, clock: ManualClock, members: Members, *, ms: int, but: str = "") -> None:
    """Let time pass while all beat and sweep, `but` one."""
    for _ in range(ms // HEARTBEAT_MS):
        clock.advance(ms=HEARTBEAT_MS)
        for name, membership in members.items():
            if name != but:
                await backend.nodes.heartbeat(membership, vitals())
        await backend.nodes.sweep()


async def test_a_mesh_nobody_probes_is_whole(nodes: NodeService, members: Members) -> None:
    found = await nodes.connectivity()
    assert [one.nodes for one in found.partitions] == [tuple(members)]
    assert (found.is_whole, found.probes, list(found.unheard)) == (True, 0, [])


async def test_a_split_shows_its_sides_and_since_when_until_it_is_healed(
    backend: Backend, nodes: NodeService, members: Members, clock: ManualClock
) -> None:
    await see(backend, members, ("n1", "n2", "n3"), ("n4", "n5"), since_ms=clock() - 5)
    found = await nodes.partitions()
    assert [one.nodes for one in found] == [("n1", "n2", "n3"), ("n4", "n5")]
    assert [(one.holds_hub, one.since_ms) for one in found] == [(True, clock() - 5)] * 2
    assert not (await nodes.connectivity()).is_whole
    await see(backend, members, members)
    assert [one.nodes for one in await nodes.partitions()] == [tuple(members)]
    assert (await nodes.connectivity()).is_whole


async def test_a_node_cut_from_the_store_is_in_the_partition_of_those_that_reach_it(
    backend: Backend, nodes: NodeService, members: Members, clock: ManualClock
) -> None:
    await see(backend, members, members)
    for _ in range(4):
        await beat(backend, clock, members, ms=2 * HEARTBEAT_MS, but="n5")
        await backend.nodes.vouch(members["n2"], ["n5"])
    found = await nodes.connectivity()
    assert (list(found.cut_from_hub), len(found.partitions), found.is_whole) == (["n5"], 1, False)
    assert found.partitions[0].hub == ("n1", "n2", "n3", "n4")
    evidence = await nodes.evidence("n5")
    assert evidence.condition is Condition.PARTITIONED
    assert evidence.phi > 12
    assert evidence.lines[1] == "n2 reaches it and vouched for it 0.0 s ago"


async def test_a_node_others_do_not_reach_but_the_store_hears_has_an_edge_fault(
    backend: Backend, nodes: NodeService, members: Members, clock: ManualClock
) -> None:
    await see(backend, members, members)
    lost = Sightings(reached=frozenset({"n1", "n2", "n4"}), unreached={"n5": clock()})
    await backend.nodes.sight(members["n3"], lost)
    await backend.nodes.sight(members["n5"], Sightings(reached=frozenset({"n1"}), unreached={"n3": clock()}))
    found = await nodes.connectivity()
    assert (list(found.edge_faults), len(found.partitions)) == ([("n3", "n5")], 1)
    evidence = await nodes.evidence("n5")
    assert (evidence.condition, dict(evidence.unreached_by)) == (Condition.EDGE_FAULT, {"n3": clock()})
    assert (evidence.reached_by, evidence.round_trip_ms) == (("n1", "n2", "n4"), 0.5)


async def test_the_dead_are_no_partition_but_heard_by_nobody(
    backend: Backend, nodes: NodeService, members: Members, clock: ManualClock
) -> None:
    await see(backend, members, members)
    await beat(backend, clock, members, ms=TIMEOUT_MS + 2 * HEARTBEAT_MS, but="n5")
    assert (await nodes.get("n5")).verdict is Verdict.DEAD
    found = await nodes.connectivity()
    assert ([one.nodes for one in found.partitions], list(found.unheard)) == ([("n1", "n2", "n3", "n4")], ["n5"])
    assert (await nodes.evidence("n5")).condition is Condition.DEAD


async def test_there_is_no_evidence_about_a_stranger(nodes: NodeService) -> None:
    with pytest.raises(NotFoundError):
        await nodes.evidence("nobody")


async def test_history_tells_those_that_left_from_those_that_failed(
    backend: Backend, nodes: NodeService, members: Members, clock: ManualClock
) -> None:
    await beat(backend, clock, members, ms=TIMEOUT_MS + 2 * HEARTBEAT_MS, but="n5")
    await backend.nodes.leave(members["n4"])
    ends = {event.node_id: event.event for event in await nodes.history() if event.event != "joined"}
    assert ends == {"n4": "left", "n5": "dead"}
    joined, doubted, dead = await nodes.history("n5")
    assert [joined.event, doubted.event, dead.event] == ["joined", "suspect", "dead"]
    assert dead.incarnation == members["n5"].incarnation
    assert dead.at_ms - joined.at_ms > TIMEOUT_MS
    assert [event.event for event in await nodes.history("n5", limit=1)] == ["dead"]
    with pytest.raises(InvalidArgumentError):
        await nodes.history(limit=0)


async def test_uptime_is_the_share_of_the_observed_time_in_which_a_node_was_there(
    backend: Backend, nodes: NodeService, members: Members, clock: ManualClock
) -> None:
    await beat(backend, clock, members, ms=10 * HEARTBEAT_MS, but="n5")
    again = {**members, "n5": await backend.nodes.join(a_profile("n5"), vitals())}
    await beat(backend, clock, again, ms=10 * HEARTBEAT_MS)
    found = await nodes.uptimes()
    assert [found[name].share for name in ("n1", "n2", "n3", "n4")] == [1.0] * 4
    doubted_ms = next(event.at_ms for event in await nodes.history("n5") if event.event == "suspect")
    gone_ms = again["n5"].incarnation // 1_000 - doubted_ms
    assert found["n5"].share == pytest.approx(1 - gone_ms / (20 * HEARTBEAT_MS))
    assert (found["n5"].failures, found["n5"].joins, found["n5"].departures) == (1, 2, 0)
    recent = await nodes.uptimes(window=timedelta(seconds=5))
    assert (recent["n5"].share, recent["n5"].observed_ms) == (1.0, 5_000)
    with pytest.raises(InvalidArgumentError):
        await nodes.uptimes(window=timedelta(0))


async def test_a_split_is_told_once_and_that_it_healed_after_three_rounds_whoever_observes(
    backend: Backend, members: Members, clock: ManualClock
) -> None:
    def observer() -> SplitObserver:
        return SplitObserver(backend.nodes, backend.records, backend.events)

    await see(backend, members, members)
    assert await observer().run_once() is None
    since_ms = clock()
    await see(backend, members, ("n1", "n2", "n3"), ("n4", "n5"), since_ms=since_ms)
    split = Change(is_healed=False, sizes=(3, 2), since_ms=since_ms)
    assert [await observer().run_once() for _ in range(3)] == [split, None, None]
    await see(backend, members, members)
    healed = Change(is_healed=True, sizes=(5,), since_ms=since_ms)
    assert [await observer().run_once() for _ in range(4)] == [None, None, healed, None]
    assert [event.change for event in await splits(backend.events)] == [split, healed]
    assert await backend.records.list("partitions/") == []


async def test_an_observer_that_no_longer_leads_tells_nothing(backend: Backend, members: Members) -> None:
    await see(backend, members, ("n1", "n2", "n3"), ("n4", "n5"), since_ms=1)
    with pytest.raises(FencedError):
        await SplitObserver(backend.nodes, backend.records, backend.events).run_once(Guard(key="leader/x", born=1))
    assert await splits(backend.events) == []


async def test_an_observer_whose_notes_are_damaged_begins_anew(backend: Backend, members: Members) -> None:
    await see(backend, members, ("n1", "n2", "n3"), ("n4", "n5"), since_ms=1)
    await backend.records.put("partitions/watch", b"?")
    await SplitObserver(backend.nodes, backend.records, backend.events).run_once()
    assert [told.change.sizes for told in await splits(backend.events)] == [(3, 2)]
