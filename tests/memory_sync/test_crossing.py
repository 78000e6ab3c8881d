"""What one node writes, every node reads, and a client without a replica too."""

import asyncio
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.errors import StaleReadError, WriteConflictError
from meshd.memory.access import Access, Draft
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import Applied, Dot, Strategy
from meshd.memory.stamping import Stamper
from tests.memory_sync.replicas import SEAL, delete, draft, put, replica_of, text, texts
from tests.support.waiting import wait_until


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name)


async def test_a_value_crosses_from_node_to_node_and_a_deletion_after_it(backend: Backend, tmp_path: Path) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a") as a,
        replica_of(backend, tmp_path / "b.db", node="b") as b,
    ):
        await put(a, "notes/paris", "sunny")
        await wait_until(lambda: _has(b, "notes/paris", "sunny"))
        await put(b, "notes/paris", "rain")
        await wait_until(lambda: _has(a, "notes/paris", "rain"))
        await delete(a, "notes/paris")
        await wait_until(lambda: _has(b, "notes/paris", None))
        assert (await a.sync()).is_equal
        assert (await b.sync()).is_equal


async def test_a_client_without_a_replica_reads_and_writes_the_same(backend: Backend, tmp_path: Path) -> None:
    client = HubAccess(backend.memory, SEAL)
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await put(client, "k", "from the client")
        await wait_until(lambda: _has(a, "k", "from the client"))
        await put(a, "k", "from the node")
        await wait_until(lambda: _has(client, "k", "from the node"))
        await client.aclose()


async def test_two_blind_writes_stand_beside_each_other_everywhere(backend: Backend, tmp_path: Path) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a") as a,
        replica_of(backend, tmp_path / "b.db", node="b") as b,
    ):
        await asyncio.gather(
            a.write([draft("k", "a")], strategy=Strategy.EVENTUAL),
            b.write([draft("k", "b")], strategy=Strategy.EVENTUAL),
        )
        await wait_until(lambda: _both(a))
        await wait_until(lambda: _both(b))
        assert (await a.sync()).is_equal


async def test_a_node_does_not_hide_its_own_write_from_another_of_its_agents(backend: Backend, tmp_path: Path) -> None:
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await a.write([draft("k", "first")], strategy=Strategy.EVENTUAL)
        with pytest.raises(WriteConflictError):
            await a.write([draft("k", "second, knowing nothing")], strategy=Strategy.EVENTUAL)
        assert await text(a, "k") == "first"


async def test_a_strong_write_is_at_the_hub_and_here_when_it_is_answered(backend: Backend, tmp_path: Path) -> None:
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await put(a, "k", "eventual")
        written = await put(a, "k", "strong", strategy=Strategy.STRONG)
        assert written.is_sent
        assert written.reply.applied is Applied.APPLIED
        assert [each.body for each in (await backend.memory.get(["k"]))[0]] == [b"strong"]
        assert await text(a, "k") == "strong"


async def test_a_strong_write_over_what_is_not_there_any_more_is_refused(backend: Backend, tmp_path: Path) -> None:
    client = HubAccess(backend.memory, SEAL)
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        seen = (await put(client, "k", "one")).version
        await put(client, "k", "two")
        stale = draft("k", "three", over=(seen,))
        conditional = type(stale)(key="k", body=stale.body, over=(seen,), expects=(seen.dot,))
        for access in (client, a):
            with pytest.raises(WriteConflictError):
                await access.write([conditional], strategy=Strategy.STRONG)
        await wait_until(lambda: _has(a, "k", "two"))
        await client.aclose()


async def test_a_session_sees_on_another_node_what_it_wrote(backend: Backend, tmp_path: Path) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a") as a,
        replica_of(backend, tmp_path / "b.db", node="b") as b,
    ):
        for number in range(30):
            await put(a, "k", str(number), priority=9)
            item = (await b.read(["k"], session=await a.session()))[0]
            assert [each.body.decode() for each in item] == [str(number)]


async def test_a_session_that_cannot_be_met_is_told_so(backend: Backend, tmp_path: Path) -> None:
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        with pytest.raises(StaleReadError):
            await a.read(["k"], session={"nobody~000000": 7})


async def _has(access: Access, key: str, value: str | None) -> bool:
    return await text(access, key) == value


async def _both(access: Access) -> bool:
    return sorted(await texts(access, "k")) == ["a", "b"]


async def test_replicas_sweep_what_expired_and_what_every_one_of_them_knows_is_deleted(
    backend: Backend, tmp_path: Path
) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a") as a,
        replica_of(backend, tmp_path / "b.db", node="b") as b,
    ):
        await put(a, "deleted", "soon")
        await wait_until(lambda: _has(b, "deleted", "soon"))
        await delete(b, "deleted")
        expires_ms = await a.now_ms() + 300
        brief = Draft(key="brief", body=lambda _: b"x", over=(), expires_ms=expires_ms)
        await a.write([brief], strategy=Strategy.EVENTUAL)
        await wait_until(lambda: _has(b, "brief", "x"), timeout=2)
        await wait_until(lambda: _is_gone(backend, "deleted"), timeout=10)
        await wait_until(lambda: _is_gone(backend, "brief"), timeout=10)
        await wait_until(lambda: _has(b, "brief", None))
        assert (await a.sync()).is_equal


async def _is_gone(backend: Backend, key: str) -> bool:
    return (await backend.memory.get([key]))[0] == ()


async def test_a_key_that_the_hub_does_not_let_be_settled_is_named_until_it_does(
    backend: Backend, tmp_path: Path
) -> None:
    async with replica_of(backend, tmp_path / "a.db", node="a") as a:
        await put(a, "k", "known to both")
        assert (await a.sync()).is_equal
        stray = Stamper(SEAL).make(draft("k", "beside it, here alone", node="liar"), Dot("gone~1", 1))
        await a._file.store.absorb([stray])  # pyright: ignore[reportPrivateUsage]
        await a._intake.forget(["k"])  # pyright: ignore[reportPrivateUsage]
        await backend.memory.absorb([], clock={"gone~1": 1})
        await backend.memory.quarantine("liar", reason="lies")
        found = await a.sync()
        assert not found.is_equal
        assert found.differing == ("k",)
        assert (a.state.differing, a.state.unrepaired) == ("k", 1)
        await backend.memory.readmit("liar")
        assert (await a.sync()).is_equal
        assert sorted(await texts(a, "k")) == ["beside it, here alone", "known to both"]
        assert a.state.unrepaired == 0
