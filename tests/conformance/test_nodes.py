"""Who is here: joining, beating, leaving, and being judged."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import FencedError, NotFoundError
from meshd.nodes.model import (
    Level,
    Membership,
    NodeFilter,
    NodeStatus,
    NodeTimings,
    TypeHistory,
    Verdict,
    Vitals,
)
from meshd.nodes.store import NODES_LOG
from tests.conftest import OpenAgain
from tests.support.builders import a_profile, vitals

TIMEOUT_MS = NodeTimings().timeout_ms
RETENTION_MS = NodeTimings().dead_retention_ms


async def events_of(backend: Backend, node_id: str) -> list[dict[str, Any]]:
    log = await backend.events.read(NODES_LOG, limit=1_000)
    return [dict(event.body) for event in log if event.body["node"] == node_id]


async def verbs_of(backend: Backend, node_id: str) -> list[str]:
    return [body["event"] for body in await events_of(backend, node_id)]


async def judged(backend: Backend, clock: ManualClock) -> set[str]:
    """Let the timeout pass in a mesh that is swept, without any beat; return who was judged dead."""
    found = {one.node_id for one in await backend.nodes.sweep()}
    for _ in range(3):
        clock.advance(ms=TIMEOUT_MS // 3 + 1)
        found |= {one.node_id for one in await backend.nodes.sweep()}
    return found


async def test_a_node_that_joined_is_seen_whole_by_another_process(
    backend: Backend, open_again: OpenAgain, clock: ManualClock
) -> None:
    other = await open_again()
    profile = a_profile("n1", capabilities=["gpu"], types=["work"], node_type="my_own_type")
    measured = Vitals(
        status=NodeStatus.ACTIVE,
        open_tasks=2,
        tasks_completed=7,
        tasks_failed=1,
        average_response_ms=12.25,
        memory_mb=48.5,
        cpu_percent=37.5,
    )
    membership = await backend.nodes.join(profile, measured)
    node = await other.nodes.get("n1")
    assert node is not None
    assert (node.profile, node.vitals, node.incarnation) == (profile, measured, membership.incarnation)
    assert (node.verdict, node.joined_ms, node.beat_ms, node.read_ms) == (Verdict.ALIVE, clock(), clock(), clock())


async def test_levels_labels_and_history_are_read_as_declared_and_measured(
    backend: Backend, open_again: OpenAgain
) -> None:
    levels, labels = {"gpu": Level.EXPERT}, {"zone": "eu", "memory_gb": "64"}
    profile = replace(a_profile("n1", capabilities=["gpu"]), levels=levels, labels=labels)
    history = {"work": TypeHistory(completed=2.5, failed=0.125, average_ms=17.0)}
    membership = await backend.nodes.join(profile, vitals())
    await backend.nodes.heartbeat(membership, replace(vitals(), history=history))
    (seen,) = await (await open_again()).nodes.list()
    assert (seen.profile.levels, seen.profile.labels, seen.vitals.history) == (levels, labels, history)
    await backend.nodes.announce(membership, replace(profile, levels={}, labels={}))
    (seen,) = await (await open_again()).nodes.list()
    assert (seen.profile.levels, seen.profile.labels) == ({}, {})


async def test_a_joined_node_is_found_by_its_capability_at_once(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    await backend.nodes.join(a_profile("n1", capabilities=["gpu"]), vitals())
    assert [holder.node_id for holder in await other.nodes.holders(frozenset({"gpu"}))] == ["n1"]
    found = await other.nodes.list(NodeFilter(capabilities=frozenset({"gpu"})))
    assert [node.id for node in found] == ["n1"]


async def test_nobody_is_here_at_first(backend: Backend) -> None:
    assert await backend.nodes.list() == []
    assert await backend.nodes.get("n1") is None
    assert list(await backend.nodes.sweep()) == []


async def test_five_hundred_nodes_join_at_once_and_all_are_here(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    names = [f"n{number:03}" for number in range(500)]
    memberships = await asyncio.gather(
        *((backend, other)[n % 2].nodes.join(a_profile(name), vitals()) for n, name in enumerate(names))
    )
    assert Counter(one.node_id for one in memberships) == Counter(names)
    assert [node.id for node in await backend.nodes.list()] == names


async def test_processes_that_join_under_one_id_get_different_incarnations(
    backend: Backend, open_again: OpenAgain
) -> None:
    other = await open_again()
    memberships = await asyncio.gather(
        *((backend, other)[n % 2].nodes.join(a_profile("n1"), vitals()) for n in range(50))
    )
    incarnations = {one.incarnation for one in memberships}
    assert len(incarnations) == 50
    node = await backend.nodes.get("n1")
    assert node is not None
    assert node.incarnation == max(incarnations)


async def test_incarnations_rise_even_after_the_node_left(backend: Backend) -> None:
    seen: list[int] = []
    for _ in range(4):
        membership = await backend.nodes.join(a_profile("n1"), vitals())
        seen.append(membership.incarnation)
        await backend.nodes.leave(membership)
    assert seen == sorted(set(seen))


async def test_a_superseded_incarnation_changes_nothing(backend: Backend) -> None:
    old = await backend.nodes.join(a_profile("n1", capabilities=["old"]), vitals())
    await backend.nodes.join(a_profile("n1", capabilities=["new"]), vitals())
    before = await backend.nodes.get("n1")
    with pytest.raises(FencedError):
        await backend.nodes.heartbeat(old, vitals(NodeStatus.BUSY))
    with pytest.raises(FencedError):
        await backend.nodes.announce(old, a_profile("n1", capabilities=["old"]))
    await backend.nodes.leave(old)
    assert await backend.nodes.get("n1") == before
    assert [holder.node_id for holder in await backend.nodes.holders(frozenset({"new"}))] == ["n1"]


async def test_a_node_taken_over_no_longer_holds_what_only_its_past_held(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["old"]), vitals())
    await backend.nodes.join(a_profile("n1", capabilities=["new"]), vitals())
    assert list(await backend.nodes.holders(frozenset({"old"}))) == []


async def test_a_heartbeat_keeps_the_node_alive_and_records_its_vitals(backend: Backend, clock: ManualClock) -> None:
    membership = await backend.nodes.join(a_profile("n1"), vitals())
    for beat in range(1, 6):
        clock.advance(ms=TIMEOUT_MS - 1)
        await backend.nodes.heartbeat(membership, vitals(open_tasks=beat))
        assert list(await backend.nodes.sweep()) == []
    node = await backend.nodes.get("n1")
    assert node is not None
    assert (node.verdict, node.vitals.open_tasks, node.beat_ms) == (Verdict.ALIVE, 5, clock())


async def test_a_heartbeat_tells_how_many_nodes_are_alive(backend: Backend, clock: ManualClock) -> None:
    first = await backend.nodes.join(a_profile("n1"), vitals())
    await backend.nodes.join(a_profile("n2"), vitals())
    assert (await backend.nodes.heartbeat(first, vitals())).live_nodes == 2
    clock.advance(ms=TIMEOUT_MS + 1)
    beat = await backend.nodes.heartbeat(first, vitals())
    assert (beat.live_nodes, beat.silent_nodes) == (1, 1)


async def test_a_heartbeat_of_a_node_that_left_is_not_found(backend: Backend) -> None:
    membership = await backend.nodes.join(a_profile("n1"), vitals())
    await backend.nodes.leave(membership)
    with pytest.raises(NotFoundError):
        await backend.nodes.heartbeat(membership, vitals())
    assert await backend.nodes.get("n1") is None


async def test_a_heartbeat_from_a_mesh_that_never_saw_the_node_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError):
        await backend.nodes.heartbeat(Membership(node_id="ghost", incarnation=1), vitals())


async def test_a_change_of_status_is_seen_elsewhere_and_told_once(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    membership = await backend.nodes.join(a_profile("n1"), vitals(NodeStatus.INITIALIZING))
    for status in (NodeStatus.ACTIVE, NodeStatus.ACTIVE, NodeStatus.BUSY, NodeStatus.BUSY, NodeStatus.ACTIVE):
        await backend.nodes.heartbeat(membership, vitals(status))
        node = await other.nodes.get("n1")
        assert node is not None
        assert node.vitals.status is status
    told = [(body["event"], body["status"]) for body in await events_of(other, "n1")]
    expected = [("joined", "initializing"), ("status", "active"), ("status", "busy"), ("status", "active")]
    assert told == expected


async def test_every_event_names_the_incarnation(backend: Backend) -> None:
    first = await backend.nodes.join(a_profile("n1"), vitals())
    second = await backend.nodes.join(a_profile("n1"), vitals())
    told = [body["incarnation"] for body in await events_of(backend, "n1") if body["event"] == "joined"]
    assert told == [first.incarnation, second.incarnation]


async def test_a_join_is_hinted_to_those_who_listen(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    async with other.events.subscribe(NODES_LOG) as subscription:
        await backend.nodes.join(a_profile("n1"), vitals())
        hint = await subscription.get(timeout_ms=5_000)
    assert hint is not None
    assert (hint.body["event"], hint.body["node"]) == ("joined", "n1")


async def test_announcing_replaces_what_the_node_declares(backend: Backend) -> None:
    membership = await backend.nodes.join(a_profile("n1", capabilities=["a", "b"]), vitals())
    changed = a_profile("n1", capabilities=["b", "c"], capacity=9)
    await backend.nodes.announce(membership, changed)
    node = await backend.nodes.get("n1")
    assert node is not None
    assert (node.profile, node.incarnation) == (changed, membership.incarnation)
    held = {name: len(await backend.nodes.holders(frozenset({name}))) for name in "abc"}
    assert held == {"a": 0, "b": 1, "c": 1}
    assert await verbs_of(backend, "n1") == ["joined", "announced"]


async def test_leaving_removes_the_node_and_is_told_once(backend: Backend) -> None:
    membership = await backend.nodes.join(a_profile("n1", capabilities=["a"]), vitals())
    await backend.nodes.leave(membership)
    await backend.nodes.leave(membership)
    assert await backend.nodes.list(NodeFilter(include_dead=True)) == []
    assert list(await backend.nodes.holders(frozenset({"a"}))) == []
    assert await verbs_of(backend, "n1") == ["joined", "left"]


async def test_a_silent_node_is_suspect_until_it_is_judged(backend: Backend, clock: ManualClock) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["a"]), vitals())
    clock.advance(ms=TIMEOUT_MS + 1)
    node = await backend.nodes.get("n1")
    assert node is not None
    assert (node.verdict, node.beat_age_ms) == (Verdict.SUSPECT, TIMEOUT_MS + 1)
    assert await backend.nodes.list() == []
    assert [one.id for one in await backend.nodes.list(NodeFilter(include_dead=True))] == ["n1"]


async def test_a_suspect_node_that_beats_again_is_alive(backend: Backend, clock: ManualClock) -> None:
    membership = await backend.nodes.join(a_profile("n1"), vitals())
    clock.advance(ms=TIMEOUT_MS + 1)
    await backend.nodes.heartbeat(membership, vitals())
    assert [node.verdict for node in await backend.nodes.list()] == [Verdict.ALIVE]


async def test_a_silent_node_is_judged_dead_and_the_living_are_spared(backend: Backend, clock: ManualClock) -> None:
    await backend.nodes.sweep()
    await backend.nodes.join(a_profile("silent", capabilities=["a"]), vitals())
    living = await backend.nodes.join(a_profile("living", capabilities=["a"]), vitals())
    found: list[str] = []
    for _ in range(3):
        clock.advance(ms=TIMEOUT_MS // 3 + 1)
        await backend.nodes.heartbeat(living, vitals())
        found += [one.node_id for one in await backend.nodes.sweep()]
    assert found == ["silent"]
    node = await backend.nodes.get("silent")
    assert node is not None
    assert node.verdict is Verdict.DEAD
    assert [holder.node_id for holder in await backend.nodes.holders(frozenset({"a"}))] == ["living"]
    assert await verbs_of(backend, "silent") == ["joined", "dead"]


async def test_each_death_is_returned_to_exactly_one_sweeper(
    backend: Backend, open_again: OpenAgain, clock: ManualClock
) -> None:
    sweepers = [backend, *[await open_again() for _ in range(3)]]
    await backend.nodes.sweep()
    members = [await backend.nodes.join(a_profile(f"n{number}"), vitals()) for number in range(10)]
    for _ in range(2):
        clock.advance(ms=TIMEOUT_MS // 3)
        assert list(await backend.nodes.sweep()) == []
    clock.advance(ms=TIMEOUT_MS // 3 + 3)
    verdicts = await asyncio.gather(*(sweeper.nodes.sweep() for sweeper in sweepers * 2))
    assert Counter(one for verdict in verdicts for one in verdict) == Counter(members)


async def test_a_dead_incarnation_has_to_join_again(backend: Backend, clock: ManualClock) -> None:
    membership = await backend.nodes.join(a_profile("n1"), vitals())
    assert await judged(backend, clock) == {"n1"}
    with pytest.raises(NotFoundError):
        await backend.nodes.heartbeat(membership, vitals())
    with pytest.raises(NotFoundError):
        await backend.nodes.announce(membership, a_profile("n1"))


async def test_a_dead_node_returns_under_its_id_with_a_new_incarnation(backend: Backend, clock: ManualClock) -> None:
    membership = await backend.nodes.join(a_profile("n1", capabilities=["a"]), vitals())
    await judged(backend, clock)
    again = await backend.nodes.join(a_profile("n1", capabilities=["a"]), vitals())
    assert again.incarnation > membership.incarnation
    assert [node.verdict for node in await backend.nodes.list()] == [Verdict.ALIVE]
    assert len(await backend.nodes.holders(frozenset({"a"}))) == 1
    with pytest.raises(FencedError):
        await backend.nodes.heartbeat(membership, vitals())


async def test_nobody_is_judged_when_nobody_was_there_to_see_the_beats(backend: Backend, clock: ManualClock) -> None:
    await backend.nodes.join(a_profile("n1"), vitals())
    await backend.nodes.sweep()
    clock.advance(ms=10 * TIMEOUT_MS)
    assert list(await backend.nodes.sweep()) == []
    for _ in range(3):
        clock.advance(ms=TIMEOUT_MS // 3)
        assert list(await backend.nodes.sweep()) == []
    clock.advance(ms=3)
    assert [one.node_id for one in await backend.nodes.sweep()] == ["n1"]


@pytest.mark.parametrize("outage_ms", [NodeTimings().gap_ms + 1, TIMEOUT_MS, 2 * TIMEOUT_MS])
async def test_an_outage_of_the_store_is_no_death_of_those_who_beat_again_after_it(
    backend: Backend, clock: ManualClock, outage_ms: int
) -> None:
    patient = await backend.nodes.join(a_profile("patient"), vitals())
    await backend.nodes.join(a_profile("gone"), vitals())
    await backend.nodes.sweep()
    clock.advance(ms=outage_ms)
    assert list(await backend.nodes.sweep()) == []
    clock.advance(ms=min(outage_ms, TIMEOUT_MS) // 2)
    await backend.nodes.heartbeat(patient, vitals())
    found = {one.node_id for one in await backend.nodes.sweep()}
    while not found:
        clock.advance(ms=500)
        await backend.nodes.heartbeat(patient, vitals())
        found = {one.node_id for one in await backend.nodes.sweep()}
    assert found == {"gone"}


async def test_the_dead_are_found_by_those_who_beat_however_rarely_they_sweep(
    backend: Backend, clock: ManualClock
) -> None:
    living = await backend.nodes.join(a_profile("living"), vitals())
    await backend.nodes.join(a_profile("silent"), vitals())
    found: set[str] = set()
    for _ in range(4):
        for _ in range(2):
            clock.advance(ms=NodeTimings().heartbeat_ms)
            await backend.nodes.heartbeat(living, vitals())
        found |= {one.node_id for one in await backend.nodes.sweep()}
    assert found == {"silent"}


async def test_a_dead_record_is_removed_after_its_retention(backend: Backend, clock: ManualClock) -> None:
    await backend.nodes.join(a_profile("n1"), vitals())
    await judged(backend, clock)
    clock.advance(ms=RETENTION_MS - 60_000)
    await backend.nodes.sweep()
    assert await backend.nodes.get("n1") is not None
    clock.advance(ms=120_000)
    await backend.nodes.sweep()
    clock.advance(ms=1)
    await backend.nodes.sweep()
    assert await backend.nodes.get("n1") is None
    assert await backend.nodes.list(NodeFilter(include_dead=True)) == []


async def test_a_drain_request_is_learned_from_the_next_heartbeat(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    membership = await backend.nodes.join(a_profile("n1"), vitals())
    assert not (await backend.nodes.heartbeat(membership, vitals())).drain_requested
    await other.nodes.request_drain("n1")
    assert (await backend.nodes.heartbeat(membership, vitals())).drain_requested
    node = await other.nodes.get("n1")
    assert node is not None
    assert node.drain_requested
    assert await verbs_of(backend, "n1") == ["joined", "drain"]


async def test_a_drain_request_is_forgotten_by_the_next_join(backend: Backend) -> None:
    await backend.nodes.join(a_profile("n1"), vitals())
    await backend.nodes.request_drain("n1")
    again = await backend.nodes.join(a_profile("n1"), vitals())
    assert not (await backend.nodes.heartbeat(again, vitals())).drain_requested


async def test_an_unknown_or_dead_node_cannot_be_drained(backend: Backend, clock: ManualClock) -> None:
    with pytest.raises(NotFoundError):
        await backend.nodes.request_drain("nobody")
    await backend.nodes.join(a_profile("n1"), vitals())
    await judged(backend, clock)
    with pytest.raises(NotFoundError):
        await backend.nodes.request_drain("n1")


async def test_a_list_is_sorted_and_filtered_by_type(backend: Backend) -> None:
    for name, node_type in (("c", "general"), ("a", "general"), ("b", "sensor_connected")):
        await backend.nodes.join(a_profile(name, node_type=node_type), vitals())
    assert [node.id for node in await backend.nodes.list()] == ["a", "b", "c"]
    where = NodeFilter(types=frozenset({"general"}))
    assert [node.id for node in await backend.nodes.list(where)] == ["a", "c"]
    where = replace(where, types=frozenset({"general", "sensor_connected"}))
    assert len(await backend.nodes.list(where)) == 3
