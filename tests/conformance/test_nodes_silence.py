"""What the mesh makes of a node it does not hear: doubt, vouching, irregular beats, and a store that was away."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import FencedError, NotFoundError
from meshd.nodes.model import (
    FLAP_WINDOW_MS,
    MAX_FLAPS,
    Beat,
    Membership,
    Node,
    NodeFilter,
    NodeTimings,
    Sightings,
    Verdict,
)
from meshd.nodes.phi import Pace, patience_of, phi
from meshd.nodes.store import NODES_LOG
from tests.conftest import OpenAgain
from tests.support.builders import a_profile, vitals

TIMINGS = NodeTimings()
TIMEOUT_MS, HEARTBEAT_MS = TIMINGS.timeout_ms, TIMINGS.heartbeat_ms
DOUBT_MS = patience_of(TIMINGS).doubted_after(Pace(mean_ms=HEARTBEAT_MS))


async def events_of(backend: Backend, node_id: str) -> list[str]:
    log = await backend.events.read(NODES_LOG, limit=1_000)
    return [str(event.body["event"]) for event in log if event.body["node"] == node_id]


async def get(backend: Backend, node_id: str) -> Node:
    node = await backend.nodes.get(node_id)
    assert node is not None
    return node


async def members(backend: Backend, *names: str) -> dict[str, Membership]:
    return {name: await backend.nodes.join(a_profile(name, capabilities=["gpu"]), vitals()) for name in names}


class Mesh:
    """Nodes that beat as time passes, and the sweeps they make."""

    def __init__(self, backend: Backend, clock: ManualClock, there: Mapping[str, Membership]) -> None:
        self.backend = backend
        self.clock = clock
        self.there = dict(there)
        self.dead: list[str] = []
        self.beat = Beat(live_nodes=0, silent_nodes=0, drain_requested=False)

    async def pass_time(self, ms: int, *, silent: str = "", vouched_by: str = "", step_ms: int = 500) -> None:
        """Let `ms` pass in steps; all beat and sweep but `silent`, which `vouched_by` reaches."""
        until = self.clock() + ms
        while self.clock() < until:
            self.clock.advance(ms=min(step_ms, until - self.clock()))
            for name, membership in self.there.items():
                if name != silent:
                    self.beat = await self.backend.nodes.heartbeat(membership, vitals())
            if vouched_by and silent in self.beat.suspects:
                await self.backend.nodes.vouch(self.there[vouched_by], [silent])
            self.dead += [one.node_id for one in await self.backend.nodes.sweep()]


@pytest.fixture
async def mesh(backend: Backend, clock: ManualClock) -> Mesh:
    """Three nodes, `cut` among them, that have beaten for ten seconds."""
    mesh = Mesh(backend, clock, await members(backend, "cut", "n1", "n2"))
    await mesh.pass_time(10_000, step_ms=HEARTBEAT_MS)
    return mesh


async def test_a_node_others_reach_is_partitioned_and_not_dead(mesh: Mesh) -> None:
    await mesh.pass_time(60_000, silent="cut", vouched_by="n1")
    node = await get(mesh.backend, "cut")
    assert (node.verdict, node.vouched_by, mesh.dead) == (Verdict.PARTITIONED, "n1", [])
    assert mesh.clock() - node.vouched_ms < TIMEOUT_MS
    assert not node.takes_tasks
    assert await events_of(mesh.backend, "cut") == ["joined", "partitioned"]


async def test_a_node_nobody_reaches_is_dead(mesh: Mesh) -> None:
    await mesh.pass_time(TIMEOUT_MS + 500, silent="cut")
    assert mesh.dead == ["cut"]
    assert (await events_of(mesh.backend, "cut"))[-1] == "dead"


async def test_a_partitioned_node_is_no_holder_and_is_listed_only_when_asked_for(mesh: Mesh) -> None:
    await mesh.pass_time(2 * TIMEOUT_MS, silent="cut", vouched_by="n1")
    assert [one.id for one in await mesh.backend.nodes.list()] == ["n1", "n2"]
    verdicts = {one.id: one.verdict for one in await mesh.backend.nodes.list(NodeFilter(include_dead=True))}
    assert verdicts == {"cut": Verdict.PARTITIONED, "n1": Verdict.ALIVE, "n2": Verdict.ALIVE}
    assert [one.node_id for one in await mesh.backend.nodes.holders(frozenset({"gpu"}))] == ["n1", "n2"]


async def test_a_partitioned_node_keeps_its_incarnation_and_its_tasks_until_it_returns(mesh: Mesh) -> None:
    await mesh.pass_time(5 * TIMEOUT_MS, silent="cut", vouched_by="n1")
    await mesh.pass_time(HEARTBEAT_MS)
    node = await get(mesh.backend, "cut")
    assert (node.verdict, node.incarnation, node.flaps) == (Verdict.ALIVE, mesh.there["cut"].incarnation, 1)
    assert (await events_of(mesh.backend, "cut"))[-1] == "recovered"
    assert "cut" in {one.node_id for one in await mesh.backend.nodes.holders(frozenset({"gpu"}))}


async def test_a_vouch_runs_out_after_a_timeout(mesh: Mesh) -> None:
    await mesh.pass_time(2 * TIMEOUT_MS, silent="cut", vouched_by="n1")
    vouched_ms = (await get(mesh.backend, "cut")).vouched_ms
    await mesh.pass_time(vouched_ms + TIMEOUT_MS - mesh.clock(), silent="cut")
    assert mesh.dead == []
    await mesh.pass_time(1, silent="cut")
    assert mesh.dead == ["cut"]


async def test_a_vouch_for_a_node_that_is_heard_changes_nothing_but_its_word(mesh: Mesh) -> None:
    before = await get(mesh.backend, "cut")
    await mesh.backend.nodes.vouch(mesh.there["n1"], ["cut"])
    node = await get(mesh.backend, "cut")
    assert node == replace(before, vouched_ms=mesh.clock(), vouched_by="n1")
    assert await events_of(mesh.backend, "cut") == ["joined"]


async def test_nobody_vouches_for_itself_for_strangers_or_for_the_dead(mesh: Mesh) -> None:
    await mesh.pass_time(TIMEOUT_MS + 500, silent="cut")
    await mesh.backend.nodes.vouch(mesh.there["n1"], ["n1", "ghost", "cut"])
    assert (await get(mesh.backend, "n1")).vouched_ms == 0
    assert await mesh.backend.nodes.get("ghost") is None
    assert (await get(mesh.backend, "cut")).verdict is Verdict.DEAD
    await mesh.backend.nodes.vouch(mesh.there["n1"], [])


async def test_a_superseded_or_unknown_member_neither_sights_nor_vouches(backend: Backend) -> None:
    old = (await members(backend, "n1", "n2"))["n1"]
    await backend.nodes.join(a_profile("n1"), vitals())
    ghost = Membership(node_id="ghost", incarnation=1)
    with pytest.raises(FencedError):
        await backend.nodes.sight(old, Sightings(reached=frozenset({"n2"})))
    with pytest.raises(FencedError):
        await backend.nodes.vouch(old, ["n2"])
    with pytest.raises(NotFoundError):
        await backend.nodes.sight(ghost, Sightings())
    with pytest.raises(NotFoundError):
        await backend.nodes.vouch(ghost, ["n2"])
    assert (await get(backend, "n2")).vouched_ms == 0
    assert (await get(backend, "n1")).sightings == Sightings()


async def test_sightings_are_read_by_others_until_the_node_beats_no_more(mesh: Mesh, open_again: OpenAgain) -> None:
    other = await open_again()
    seen = Sightings(reached=frozenset({"n2"}), unreached={"cut": 17}, round_trip_ms={"n2": 0.25})
    await mesh.backend.nodes.sight(mesh.there["n1"], seen)
    assert (await get(other, "n1")).sightings == replace(seen, at_ms=mesh.clock())
    await mesh.backend.nodes.sight(mesh.there["n1"], Sightings())
    assert (await get(other, "n1")).sightings == Sightings(at_ms=mesh.clock())
    await mesh.backend.nodes.sight(mesh.there["n1"], seen)
    await mesh.pass_time(TIMEOUT_MS + 500, silent="n1")
    assert (await get(other, "n1")).sightings == Sightings()


async def test_a_beat_names_who_has_missed_beats_before_anybody_is_judged(mesh: Mesh) -> None:
    await mesh.pass_time(HEARTBEAT_MS, silent="cut")
    assert list(mesh.beat.suspects) == []
    await mesh.pass_time(TIMEOUT_MS - 2 * HEARTBEAT_MS, silent="cut")
    assert (list(mesh.beat.suspects), mesh.beat.silent_nodes, mesh.dead) == (["cut"], 0, [])
    assert (await get(mesh.backend, "cut")).verdict is Verdict.ALIVE


async def test_one_that_was_vouched_for_is_named_again_only_when_that_runs_out(mesh: Mesh) -> None:
    await mesh.pass_time(3 * HEARTBEAT_MS, silent="cut")
    await mesh.backend.nodes.vouch(mesh.there["n2"], ["cut"])
    await mesh.pass_time(TIMEOUT_MS // 2, silent="cut")
    assert list(mesh.beat.suspects) == []
    await mesh.pass_time(TIMEOUT_MS // 2, silent="cut")
    assert list(mesh.beat.suspects) == ["cut"]


async def test_a_beat_names_at_most_a_hundred(backend: Backend, clock: ManualClock) -> None:
    there = await members(backend, *[f"n{number:03}" for number in range(150)])
    clock.advance(ms=3 * HEARTBEAT_MS)
    assert len(set((await backend.nodes.heartbeat(there["n000"], vitals())).suspects)) == 100


async def test_doubt_is_told_once_and_so_is_recovery(mesh: Mesh) -> None:
    await mesh.pass_time(DOUBT_MS + 1, silent="cut", step_ms=100)
    assert (await get(mesh.backend, "cut")).verdict is Verdict.SUSPECT
    await mesh.backend.nodes.sweep()
    await mesh.pass_time(2 * HEARTBEAT_MS)
    assert await events_of(mesh.backend, "cut") == ["joined", "suspect", "recovered"]
    assert (await get(mesh.backend, "cut")).flaps == 1


async def test_a_suspect_somebody_vouches_for_becomes_partitioned(mesh: Mesh) -> None:
    await mesh.pass_time(DOUBT_MS + 1, silent="cut", step_ms=100)
    await mesh.backend.nodes.vouch(mesh.there["n1"], ["cut"])
    assert (await get(mesh.backend, "cut")).verdict is Verdict.PARTITIONED
    assert await events_of(mesh.backend, "cut") == ["joined", "suspect", "partitioned"]


async def test_returns_are_counted_for_an_hour_also_over_deaths(mesh: Mesh) -> None:
    await mesh.pass_time(2 * TIMEOUT_MS, silent="cut", vouched_by="n1")
    await mesh.pass_time(HEARTBEAT_MS)
    await mesh.pass_time(TIMEOUT_MS + 500, silent="cut")
    mesh.there["cut"] = await mesh.backend.nodes.join(a_profile("cut"), vitals())
    assert (await get(mesh.backend, "cut")).flaps == 2
    mesh.clock.advance(ms=FLAP_WINDOW_MS)
    assert (await get(mesh.backend, "cut")).flaps == 0


async def test_a_node_that_joins_anew_has_not_flapped(backend: Backend) -> None:
    await members(backend, "n1")
    await members(backend, "n1")
    assert (await get(backend, "n1")).flaps == 0


async def test_at_most_fifty_returns_are_remembered(mesh: Mesh) -> None:
    for _ in range(MAX_FLAPS + 5):
        await mesh.pass_time(2 * TIMEOUT_MS, silent="cut", vouched_by="n1", step_ms=HEARTBEAT_MS)
        await mesh.pass_time(100)
    assert (await get(mesh.backend, "cut")).flaps == MAX_FLAPS


async def test_a_regular_node_is_doubted_and_bound_as_the_timeout_says(mesh: Mesh) -> None:
    node = await get(mesh.backend, "cut")
    assert (node.doubt_ms - node.beat_ms, node.bound_ms - node.beat_ms) == (DOUBT_MS, TIMEOUT_MS)
    assert (node.mean_beat_ms, node.beat_deviation_ms) == (HEARTBEAT_MS, 0)
    assert phi(now_ms=node.beat_ms, doubt_ms=node.doubt_ms, bound_ms=node.bound_ms) < 0.001


async def test_irregular_beats_stretch_the_bound_and_regular_ones_shrink_it_again(mesh: Mesh) -> None:
    bounds: list[int] = []
    for _ in range(60):
        await mesh.pass_time(3_000, silent="cut")
        await mesh.pass_time(500)
        node = await get(mesh.backend, "cut")
        bounds.append(node.bound_ms - node.beat_ms)
    assert bounds[-1] > 1.5 * TIMEOUT_MS
    assert max(bounds) <= NodeTimings.MAX_STRETCH * TIMEOUT_MS
    assert mesh.dead == []
    await mesh.pass_time(600_000, step_ms=HEARTBEAT_MS)
    node = await get(mesh.backend, "cut")
    assert node.bound_ms - node.beat_ms < TIMEOUT_MS + 10


@pytest.mark.parametrize("seed", range(5))
async def test_the_store_keeps_a_nodes_pace_as_the_rules_say(backend: Backend, clock: ManualClock, seed: int) -> None:
    rng, patience, pace = Random(seed), patience_of(TIMINGS), Pace(mean_ms=HEARTBEAT_MS)
    there = await members(backend, "n1", "steady")
    for _ in range(60):
        interval = rng.choice([rng.randint(100, 1_500), rng.randint(900, 1_100), rng.randint(1_000, 6_000)])
        for passed in [400] * (interval // 400) + [interval % 400]:
            clock.advance(ms=passed)
            await backend.nodes.heartbeat(there["steady"], vitals())
        if patience.tells(interval, pace):
            pace = pace.counting(interval)
        await backend.nodes.heartbeat(there["n1"], vitals())
        node = await get(backend, "n1")
        assert node.mean_beat_ms == pytest.approx(pace.mean_ms, abs=0.1)
        assert node.doubt_ms - clock() == pytest.approx(patience.doubted_after(pace), abs=2)
        assert node.bound_ms - clock() == pytest.approx(patience.bound_after(pace), abs=2)


async def test_no_bound_is_longer_than_two_and_a_half_timeouts(backend: Backend, clock: ManualClock) -> None:
    mesh = Mesh(backend, clock, await members(backend, "cut", "n1", "n2"))
    for _ in range(150):
        node = await get(backend, "cut")
        await mesh.pass_time(node.bound_ms - clock() - 1, silent="cut", step_ms=1_000)
        await backend.nodes.heartbeat(mesh.there["cut"], vitals())
    node = await get(backend, "cut")
    assert node.bound_ms - node.beat_ms == NodeTimings.MAX_STRETCH * TIMEOUT_MS
    assert node.doubt_ms < node.bound_ms
    assert mesh.dead == []


async def test_beats_out_of_turn_do_not_make_the_mesh_impatient(mesh: Mesh) -> None:
    await mesh.pass_time(20_000, step_ms=50)
    node = await get(mesh.backend, "cut")
    assert (node.bound_ms - node.beat_ms, node.mean_beat_ms) == (TIMEOUT_MS, HEARTBEAT_MS)


@pytest.mark.parametrize("outage_ms", [2_000, 5_000, 60_000])
async def test_an_outage_of_the_store_kills_nobody_and_leaves_the_pace_as_it_was(mesh: Mesh, outage_ms: int) -> None:
    mesh.clock.advance(ms=outage_ms)
    assert list(await mesh.backend.nodes.sweep()) == []
    await mesh.pass_time(4_000, step_ms=HEARTBEAT_MS)
    assert mesh.dead == []
    node = await get(mesh.backend, "cut")
    assert (node.mean_beat_ms, node.flaps) == (HEARTBEAT_MS, 0)
    assert await events_of(mesh.backend, "cut") == ["joined"]


async def test_a_silence_over_the_bound_does_not_count_as_an_interval(mesh: Mesh) -> None:
    await mesh.pass_time(60_000, silent="cut", vouched_by="n2")
    await mesh.pass_time(HEARTBEAT_MS, step_ms=HEARTBEAT_MS)
    assert (await get(mesh.backend, "cut")).mean_beat_ms == HEARTBEAT_MS


async def test_a_thousand_nodes_are_listed_and_of_them_the_silent_are_judged(
    backend: Backend, clock: ManualClock
) -> None:
    there = await members(backend, *[f"n{number:04}" for number in range(1_000)])
    assert len(await backend.nodes.list()) == 1_000
    mesh = Mesh(backend, clock, {name: there[name] for name in ("n0000", "n0001")})
    await mesh.pass_time(TIMEOUT_MS + 500)
    assert len(mesh.dead) == len(set(mesh.dead)) == 998
    assert [node.id for node in await backend.nodes.list()] == ["n0000", "n0001"]
