"""The topology manager on real stores: nothing lost, nothing applied twice, whoever is killed when."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import FencedError, StoreUnreachableError
from meshd.events import START
from meshd.records import Guard, Record, Room
from meshd.topology.keeping import KeepingOptions, TopologyManager
from meshd.topology.model import TOPOLOGY_LOG, EdgeRules, Graph, Shape, WeightRule
from meshd.topology.recorded import CURSOR_KEY, uses_in
from meshd.topology.service import TopologyService
from meshd.topology.usage import Usage
from tests.conftest import OpenAgain

T = TypeVar("T")

FOUR: dict[str, str] = dict.fromkeys(("fraud", "inventory", "sales", "support"), "n1")


class GoneError(Exception):
    """The process is gone at this point."""


class DyingRecords:
    """A real record store whose process dies before its n-th write, or after it without hearing the answer."""

    def __init__(self, backend: Backend, *, writes: int, is_written: bool) -> None:
        self._records = backend.records
        self._left = writes
        self._is_written = is_written
        self.get, self.list, self.count, self.put = (
            self._records.get,
            self._records.list,
            self._records.count,
            self._records.put,
        )

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        guard: Guard | None = None,
        room: Room | None = None,
    ) -> int:
        return await self._write(lambda: self._records.create(key, value, ttl_ms=ttl_ms, guard=guard, room=room))

    async def update(
        self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None, guard: Guard | None = None
    ) -> int:
        return await self._write(
            lambda: self._records.update(key, value, revision=revision, ttl_ms=ttl_ms, guard=guard)
        )

    async def delete(self, key: str, *, revision: int | None = None, guard: Guard | None = None) -> bool:
        return await self._write(lambda: self._records.delete(key, revision=revision, guard=guard))

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        self._left -= 1
        if self._left < 0 and not self._is_written:
            raise GoneError
        done = await write()
        if self._left < 0:
            raise GoneError
        return done


class Members:
    """Who is in the mesh, as the test says."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self.now = dict(members)

    async def __call__(self) -> Mapping[str, str]:
        return dict(self.now)


def a_manager(backend: Backend, members: Members | None = None, **options: Any) -> TopologyManager:
    given = KeepingOptions(**options)
    return TopologyManager(backend.records, backend.events, members or Members(FOUR), given)


async def tell(backend: Backend, *uses: tuple[str, str, int]) -> None:
    usage = Usage(backend.events, by="n1")
    for source, target, count in uses:
        usage.used(source, target, count=count)
    await usage.flush()


async def seen(backend: Backend) -> Graph:
    return await TopologyService(backend.records, backend.events).graph()


def weights(graph: Graph) -> dict[tuple[str, str], tuple[float, int]]:
    return {(edge.source, edge.target): (edge.weight, edge.usage) for edge in graph.edges}


async def news(backend: Backend, kind: str) -> list[Any]:
    events = await backend.events.read(TOPOLOGY_LOG, after=START, limit=1_000)
    return [
        row
        for event in events
        if event.body["event"] == kind
        for row in event.body.get("edges", ()) or event.body["agents"]
    ]


async def test_four_agents_join_and_twelve_edges_are_there(backend: Backend) -> None:
    done = await a_manager(backend).run_once()
    graph = await seen(backend)
    assert (done.joined, done.created) == (tuple(sorted(FOUR)), 12)
    assert set(weights(graph).values()) == {(0.5, 0)}
    assert graph.homes == FOUR
    assert len(await news(backend, "edge_created")) == 12
    assert await news(backend, "agent_joined") == [[agent, "n1"] for agent in sorted(FOUR)]


async def test_a_message_makes_its_edge_thicker(backend: Backend) -> None:
    manager = a_manager(backend)
    await manager.run_once()
    await tell(backend, ("sales", "fraud", 1), ("sales", "support", 7))
    done = await manager.run_once()
    found = weights(await seen(backend))
    assert done.uses == 8
    assert found["sales", "fraud"] == (0.6, 1)
    assert found["sales", "support"] == (1.0, 7)
    assert found["fraud", "sales"] == (0.5, 0)
    assert await news(backend, "edge_strength_changed") == [["sales", "fraud", 0.6], ["sales", "support", 1.0]]


async def test_edges_decay_are_pruned_and_come_back(backend: Backend, clock: ManualClock) -> None:
    manager = a_manager(backend)
    await manager.run_once()
    clock.advance(seconds=60)
    assert set(weights(await seen(backend)).values()) == {(0.3, 0)}
    for _ in range(12):
        await tell(backend, ("sales", "fraud", 1))
        clock.advance(seconds=5)
    done = await manager.run_once()
    assert (done.removed, done.uses) == (11, 12)
    assert set(weights(await seen(backend))) == {("sales", "fraud")}
    await tell(backend, ("support", "sales", 1))
    await manager.run_once()
    assert weights(await seen(backend))["support", "sales"] == (0.6, 1)
    assert len(await news(backend, "edge_removed")) == 11


async def test_who_leaves_is_gone_with_all_edges_and_told(backend: Backend) -> None:
    members = Members(FOUR)
    manager = a_manager(backend, members)
    await manager.run_once()
    del members.now["sales"]
    done = await manager.run_once()
    graph = await seen(backend)
    assert (done.left, done.removed) == (("sales",), 6)
    assert len(graph.edges) == 6
    assert await news(backend, "agent_left") == [["sales", "n1"]]


async def test_a_round_with_nothing_to_do_writes_nothing(backend: Backend) -> None:
    manager = a_manager(backend)
    for _ in range(3):
        await manager.run_once()
    before = await written(backend)
    await manager.run_once()
    assert await written(backend) == before


async def test_only_what_changed_is_written(backend: Backend) -> None:
    manager = a_manager(backend)
    await manager.run_once()
    before = await written(backend)
    await tell(backend, ("sales", "fraud", 1))
    await manager.run_once()
    after = await written(backend)
    assert {key for key in after if after[key] != before[key]} == {"topology/out/sales", CURSOR_KEY}


async def test_a_manager_that_starts_anew_finds_the_same_weights(backend: Backend, open_again: OpenAgain) -> None:
    manager = a_manager(backend)
    await manager.run_once()
    await tell(backend, ("sales", "fraud", 3), ("fraud", "sales", 1))
    await manager.run_once()
    before = weights(await seen(backend))
    other = await open_again()
    await a_manager(other).run_once()
    assert weights(await seen(other)) == before


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_manager_killed_between_any_two_writes_changes_no_weight(backend: Backend, is_written: bool) -> None:
    members = Members(FOUR)
    await a_manager(backend, members).run_once()
    for at in range(8):
        await tell(backend, *((one, other, 1) for one in FOUR for other in FOUR if one != other and one > other))
        dying = DyingRecords(backend, writes=at, is_written=is_written)
        with_crash = TopologyManager(dying, backend.events, members)
        try:
            await with_crash.run_once()
        except GoneError:
            await a_manager(backend, members).run_once()
    counts = {pair: usage for pair, (_, usage) in weights(await seen(backend)).items()}
    assert counts == {(one, other): 8 if one > other else 0 for one in FOUR for other in FOUR if one != other}


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("at", range(7))
async def test_a_join_and_a_leave_cut_short_are_completed(backend: Backend, at: int, is_written: bool) -> None:
    members = Members(FOUR)
    await a_manager(backend, members).run_once()
    members.now = {**{agent: "n1" for agent in FOUR if agent != "sales"}, "billing": "n2"}
    dying = TopologyManager(DyingRecords(backend, writes=at, is_written=is_written), backend.events, members)
    try:
        await dying.run_once()
    except GoneError:
        await a_manager(backend, members).run_once()
    graph = await seen(backend)
    assert graph.homes == members.now
    assert len(graph.edges) == 12
    assert "topology/out/sales" not in await written(backend)


async def test_uses_of_many_rounds_are_each_counted_once_by_two_managers_in_turn(
    backend: Backend, open_again: OpenAgain
) -> None:
    managers = [a_manager(backend), a_manager(await open_again())]
    for number in range(10):
        await tell(backend, ("sales", "fraud", 1))
        await managers[number % 2].run_once()
    assert weights(await seen(backend))["sales", "fraud"] == (1.0, 10)


async def test_two_managers_never_decay_twice(backend: Backend, open_again: OpenAgain, clock: ManualClock) -> None:
    managers = [a_manager(backend), a_manager(await open_again())]
    for _ in range(12):
        for manager in managers:
            await manager.run_once()
        clock.advance(seconds=5)
    assert {weight for weight, _ in weights(await seen(backend)).values()} == {0.3}


async def test_a_superseded_manager_changes_nothing(backend: Backend, open_again: OpenAgain) -> None:
    records = backend.records
    first = Guard(key="leader/topology", born=await records.create("leader/topology", b"first"))
    old = a_manager(backend)
    await old.run_once(first)
    await records.delete("leader/topology")
    second = Guard(key="leader/topology", born=await records.create("leader/topology", b"second"))
    new = a_manager(await open_again())
    await new.run_once(second)
    await tell(backend, ("sales", "fraud", 1))
    before = await written(backend)
    with pytest.raises(FencedError):
        await old.run_once(first)
    assert await written(backend) == before
    await new.run_once(second)
    assert weights(await seen(backend))["sales", "fraud"] == (0.6, 1)


async def test_more_uses_than_a_step_reads_are_all_counted(backend: Backend) -> None:
    manager = a_manager(backend)
    for _ in range(250):
        await tell(backend, ("sales", "fraud", 1))
    await manager.run_once()
    assert weights(await seen(backend))["sales", "fraud"][1] == 250


async def test_what_is_no_use_is_left_out(backend: Backend) -> None:
    manager = a_manager(backend)
    await manager.run_once()
    for rows in (
        None,
        "x",
        [["sales", "fraud"]],
        [["sales", "fraud", 0, 1]],
        [["sales", "fraud", 1, 7]],
        [["sales", "fraud", 2**62, 1]],
        [[1, 2, 3, 4]],
    ):
        body = {"event": "used", "by": "n9", "uses": rows}
        assert uses_in(body) == []
        await backend.events.append(TOPOLOGY_LOG, body)
    assert (await manager.run_once()).uses == 0


async def test_pieces_are_linked_again_where_that_is_asked(backend: Backend, clock: ManualClock) -> None:
    manager = a_manager(backend, keeps_connected=True)
    await manager.run_once()
    clock.advance(seconds=120)
    done = await manager.run_once()
    assert done.removed == 12
    assert len((await seen(backend)).edges) == 6


async def test_a_mesh_of_forty_begins_as_a_hybrid(backend: Backend) -> None:
    members = Members({f"agent-{number:02}": "n1" for number in range(40)})
    await a_manager(backend, members).run_once()
    graph = await TopologyService(backend.records, backend.events).graph()
    assert graph.shape is Shape.HYBRID
    assert len(graph.edges) == 2 * 78


async def test_a_snapshot_restored_is_what_it_was_whatever_came_between(backend: Backend, clock: ManualClock) -> None:
    manager, service = a_manager(backend), TopologyService(backend.records, backend.events)
    await manager.run_once()
    await tell(backend, ("sales", "fraud", 3))
    await manager.run_once()
    kept, before = await service.snapshot(), weights(await seen(backend))
    clock.advance(seconds=300)
    await manager.run_once()
    await tell(backend, ("sales", "support", 5))
    restored = await service.restore(kept)
    assert weights(restored) == before
    await manager.run_once()
    assert weights(await seen(backend)) == before


async def test_the_service_answers_from_the_records(backend: Backend) -> None:
    manager = a_manager(backend)
    service = TopologyService(backend.records, backend.events)
    assert (await service.statistics()).agents == 0
    await manager.run_once()
    await tell(backend, ("sales", "fraud", 5), ("fraud", "support", 5))
    await manager.run_once()
    path = await service.path("sales", "support")
    assert path is not None
    assert path.agents == ("sales", "support")
    assert set(await service.neighbours("sales")) == {"fraud", "inventory", "support"}
    assert (await service.statistics()).density == 1.0


async def test_a_bounded_topology_follows_its_rule(backend: Backend) -> None:
    rules = EdgeRules(rule=WeightRule.BOUNDED)
    manager = a_manager(backend, rules=rules)
    await manager.run_once()
    await tell(backend, ("sales", "fraud", 1))
    await manager.run_once()
    assert weights(await seen(backend))["sales", "fraud"] == (0.55, 1)


async def test_uses_the_store_did_not_take_are_told_later(backend: Backend) -> None:
    class Away:
        is_away = True

        async def append(self, log: str, body: Mapping[str, Any]) -> str:
            if self.is_away:
                raise StoreUnreachableError("away")
            return await backend.events.append(log, body)

    store = Away()
    usage = Usage(store, by="n1")  # type: ignore[arg-type]
    usage.used("sales", "fraud", count=2)
    with pytest.raises(StoreUnreachableError):
        await usage.flush()
    usage.used("sales", "fraud")
    store.is_away = False
    assert await usage.flush() == 3
    assert await usage.flush() == 0


async def written(backend: Backend) -> dict[str, Record]:
    records = [*await backend.records.list("topology/", limit=100)]
    return {
        record.key: Record(key=record.key, value=record.value, revision=record.revision, born=0, born_ms=0, read_ms=0)
        for record in records
    }
