"""Damaged bytes, forgotten replicas, masters, quarantine and sessions: what a replica must not believe, or not do."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import system_clock
from meshd.errors import MemoryRefusedError, NotMasterError, UnconfirmedError
from meshd.memory.access import Acks
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import LOCAL, Member, MemoryLimits, Strategy
from meshd.memory.prefixes import Rule, Rules
from meshd.memory.replication.replica import Replica
from meshd.memory.sealing import Seal
from meshd.memory.syncing import SyncOptions
from tests.memory_sync.lying import LyingStore, with_flipped_bit
from tests.memory_sync.replicas import QUICK, SEAL, delete, draft, open_at, put, replica_of, text
from tests.support.waiting import wait_until

SELDOM = replace(QUICK, interval=timedelta(seconds=60))
LED = SyncOptions(
    rules=Rules(prefixes={"led/": Rule(prefix="led/", strategy=Strategy.MASTER_SLAVE)}),
    mastery_ttl=timedelta(milliseconds=400),
)


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name)


async def test_a_bit_flipped_on_the_wire_is_refused_and_the_value_asked_for_again(
    backend: Backend, tmp_path: Path
) -> None:
    lying = cast("Any", LyingStore(backend.memory, with_flipped_bit))
    b = await open_at(lying, tmp_path / "b.db", node="b", options=SELDOM)
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        number = 0
        while not b.state.damaged:
            number += 1
            await put(a, "k", f"sound {number}")
            await wait_until(lambda: is_text(b, "k", f"sound {number}"))  # noqa: B023 -- called at once
        assert (await b.sync()).is_equal
    await b.aclose()


async def test_bytes_that_stay_damaged_are_kept_out_and_repaired_when_they_can_be(
    backend: Backend, tmp_path: Path
) -> None:
    lying = LyingStore(backend.memory, with_flipped_bit, everywhere=True)
    b = await open_at(cast("Any", lying), tmp_path / "b.db", node="b", options=SELDOM)
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await put(a, "k", "sound")
        await wait_until(lambda: is_text(b, "k", "sound"))
        assert (await b.sync()).is_equal
    await b.aclose()


async def test_a_writer_with_another_secret_is_not_believed(backend: Backend, tmp_path: Path) -> None:
    stranger = HubAccess(backend.memory, Seal("guessed"))
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await stranger.write([draft("k", "forged")], strategy=Strategy.STRONG)
        await wait_until(lambda: a.state.damaged > 0)
        assert await text(a, "k") is None
        await put(a, "other", "true")
        assert await text(a, "other") == "true"
    await stranger.aclose()


async def test_a_message_that_never_came_is_noticed_by_the_next(backend: Backend, tmp_path: Path) -> None:
    dropped: list[int] = []

    def drop_some(change: Any) -> Any:
        if len(dropped) < 3:
            dropped.append(change.revision)
            return None
        return change

    b = await open_at(cast("Any", LyingStore(backend.memory, drop_some)), tmp_path / "b.db", node="b", options=SELDOM)
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        number = 0
        while len(dropped) < 3:
            number += 1
            await put(a, f"k/{number}", str(number), priority=9)
            await a.sync()
        await put(a, "last", "told")
        await wait_until(lambda: is_text(b, "last", "told"))
        for each in range(1, number + 1):
            assert await text(b, f"k/{each}") == str(each)
    await b.aclose()


async def test_a_replica_that_was_away_past_its_eviction_brings_no_deleted_key_back(
    store_url: str, mesh_name: str, tmp_path: Path
) -> None:
    limits = MemoryLimits(evict_after_ms=300)
    backend = await open_backend(store_url, BackendOptions(mesh=mesh_name, memory=limits))
    async with replica_of(backend, tmp_path / "b.db", node="b") as b:
        async with replica_of(backend, tmp_path / "a.db", node="a") as a:
            await put(a, "dead", "soon")
            await put(a, "alive", "still")
            await a.sync()
            await b.sync()
        await delete(b, "dead")
        await b.sync()
        await wait_until(lambda: is_collected(backend, b))
        async with replica_of(backend, tmp_path / "a.db", node="a") as a:
            await wait_until(lambda: is_text(a, "dead", None))
            assert (await a.sync()).is_equal
            assert await text(a, "alive") == "still"
            assert await text(b, "dead") is None
    await backend.aclose()


async def is_collected(backend: Backend, b: Replica) -> bool:
    await b.sync()
    await backend.memory.sweep()
    return (await backend.memory.get(["dead"]))[0] == ()


async def test_only_the_master_writes_its_prefix_until_it_gives_it_up(backend: Backend, tmp_path: Path) -> None:
    async with replica_of(backend, tmp_path / "b.db", node="b", options=LED) as b:
        async with replica_of(backend, tmp_path / "a.db", node="a", options=LED) as a:
            await put(a, "led/k", "a", strategy=Strategy.MASTER_SLAVE)
            with pytest.raises(NotMasterError, match="a only"):
                await put(b, "led/k", "b", strategy=Strategy.MASTER_SLAVE)
        await put(b, "led/k", "b", strategy=Strategy.MASTER_SLAVE)
        assert await text(b, "led/k") == "b"


async def test_a_master_that_says_nothing_is_succeeded_and_its_late_write_refused(
    backend: Backend, tmp_path: Path
) -> None:
    slow = {"ms": 0}
    async with (
        replica_of(backend, tmp_path / "a.db", node="a", options=LED, clock=lambda: system_clock() - slow["ms"]) as a,
        replica_of(backend, tmp_path / "b.db", node="b", options=LED) as b,
    ):
        await put(a, "led/k", "a", strategy=Strategy.MASTER_SLAVE)

        async def succeeds() -> bool:
            try:
                await put(b, "led/k", "b", strategy=Strategy.MASTER_SLAVE)
            except NotMasterError:
                return False
            return True

        await wait_until(succeeds)
        slow["ms"] = 3_600_000
        with pytest.raises(NotMasterError):
            await put(a, "led/k", "late", strategy=Strategy.MASTER_SLAVE)
        assert await text(b, "led/k") == "b"


async def test_a_node_in_quarantine_keeps_its_writes_to_itself_until_it_is_readmitted(
    backend: Backend, tmp_path: Path
) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a") as a,
        replica_of(backend, tmp_path / "b.db", node="b") as b,
    ):
        await b.quarantine("a", reason="poisoned")
        await put(a, "k", "held")
        await wait_until(lambda: a.state.refused > 0)
        with pytest.raises(MemoryRefusedError):
            await put(a, "strong", "x", strategy=Strategy.STRONG)
        assert await text(b, "k") is None
        assert await b.readmit("a")
        await a.sync()
        await wait_until(lambda: is_text(b, "k", "held"))


async def test_a_write_that_nobody_confirms_is_made_and_says_so(backend: Backend) -> None:
    await backend.memory.report(Member(node="silent", actor="silent~1", revision=0, seen_ms=system_clock()))
    client = HubAccess(backend.memory, SEAL)
    with pytest.raises(UnconfirmedError):
        await client.write(
            [draft("k", "v")], strategy=Strategy.STRONG, acks=Acks(replicas=1.0, timeout=timedelta(milliseconds=200))
        )
    assert await text(client, "k") == "v"
    await client.aclose()


async def test_a_replica_that_was_closed_holds_up_no_write_that_asks_all(backend: Backend, tmp_path: Path) -> None:
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await a.sync()
        async with replica_of(backend, tmp_path / "b.db", node="b") as b:
            await b.sync()
        written = await a.write([draft("k", "v")], strategy=Strategy.EVENTUAL, acks=Acks(replicas=1.0))
        assert written[0].is_sent
        assert written[0].confirmed == 1


async def test_a_write_under_the_priority_threshold_stays_on_its_node(backend: Backend, tmp_path: Path) -> None:
    picky = replace(QUICK, priority_threshold=4)
    async with (
        replica_of(backend, tmp_path / "a.db", node="a", options=picky) as a,
        replica_of(backend, tmp_path / "b.db", node="b", options=picky) as b,
    ):
        written = await put(a, "mine", "1", priority=3)
        assert written.version.header.actor == LOCAL
        await put(a, "mine", "2", priority=3)
        await put(a, "ours", "x", priority=4)
        await wait_until(lambda: is_text(b, "ours", "x"))
        assert await text(a, "mine") == "2"
        assert await text(b, "mine") is None
        assert (await a.sync()).is_equal


async def test_without_its_token_a_session_reads_old_values_now_and_then(backend: Backend, tmp_path: Path) -> None:
    """The control: if this never failed, the tests of sessions would prove nothing."""
    late = replace(QUICK, batch_delay=timedelta(milliseconds=30))
    async with (
        replica_of(backend, tmp_path / "a.db", node="a", options=late) as a,
        replica_of(backend, tmp_path / "b.db", node="b", options=late) as b,
    ):
        stale = 0
        for number in range(10):
            await put(a, "k", str(number))
            stale += await text(b, "k") != str(number)
            item = (await b.read(["k"], session=await a.session()))[0]
            assert [each.body.decode() for each in item] == [str(number)]
        assert stale > 0


async def is_text(replica: Replica, key: str, value: str | None) -> bool:
    return await text(replica, key) == value
