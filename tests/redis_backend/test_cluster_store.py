"""Every port on three primaries: found, redirected, waited for, and told when it cannot be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import ConfigurationError, StoreUnreachableError, UnavailableError
from meshd.tasks.model import Outcome, TaskFilter, TaskState
from meshd.tasks.store import TASKS_LOG
from tests.support.builders import a_claimer, a_profile, a_task, claim_all, completed, hold_of, submit_one, vitals
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_replicas import info
from tests.support.redis_server import free_port
from tests.support.stores import ClusterMeshes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
async def backend(redis_cluster: RedisCluster, mesh_name: str) -> AsyncIterator[Backend]:
    backend = await open_backend(redis_cluster.url, BackendOptions(mesh=mesh_name))
    yield backend
    await backend.aclose()
    ClusterMeshes(redis_cluster, partitions=24).finish(mesh_name)


async def test_a_new_mesh_has_eight_partitions_a_primary_for_good(
    backend: Backend, redis_cluster: RedisCluster, mesh_name: str
) -> None:
    shape = f"mesh:{{{mesh_name}:c}}:shape"
    owner = redis_cluster.owner_of(redis_cluster.slot_of(shape))
    assert redis_cluster.run(owner)("HGET", shape, "partitions") == b"24"
    await submit_one(backend, a_task())
    again = await open_backend(redis_cluster.url, BackendOptions(mesh=mesh_name, partitions=5))
    assert (await again.tasks.counts())[TaskState.READY] == 1
    await again.aclose()
    assert redis_cluster.run(owner)("HGET", shape, "partitions") == b"24"


async def test_tasks_spread_over_the_primaries_and_are_found_wherever_they_are(
    backend: Backend, redis_cluster: RedisCluster, mesh_name: str
) -> None:
    news = [a_task() for _ in range(240)]
    await backend.tasks.submit(news)
    for number in range(3):
        assert int(redis_cluster.run(number)("DBSIZE")) > 40
    assert [task.id for task in await backend.tasks.get([new.id for new in news]) if task] == [new.id for new in news]
    held = await claim_all(backend, limit=256)
    assert len(held) == 240
    assert (await backend.tasks.open_counts(["n1"]))["n1"] == 240
    assert set(await backend.tasks.start([hold_of(task) for task in held])) == {Outcome.OK}
    assert set(await backend.tasks.finish([completed(task) for task in held])) == {Outcome.OK}
    assert (await backend.tasks.counts())[TaskState.COMPLETED] == 240


async def test_a_listing_goes_through_all_partitions_newest_first(backend: Backend) -> None:
    news = [a_task() for _ in range(90)]
    await backend.tasks.submit(news)
    seen: list[str] = []
    page = await backend.tasks.list(TaskFilter(), limit=7)
    seen += [task.id for task in page.tasks]
    while page.cursor is not None:
        page = await backend.tasks.list(TaskFilter(), limit=7, cursor=page.cursor)
        seen += [task.id for task in page.tasks]
    assert seen == sorted((new.id for new in news), reverse=True)


async def test_the_task_log_of_all_partitions_is_read_as_one(backend: Backend) -> None:
    news = [a_task() for _ in range(60)]
    for at in range(0, 60, 10):
        await backend.tasks.submit(news[at : at + 10])
    seen: list[str] = []
    cursor = "0"
    while events := await backend.events.read(TASKS_LOG, after=cursor, limit=7):
        seen += [str(event.body["task"]) for event in events]
        times = [event.at_ms for event in events]
        assert times == sorted(times)
        cursor = events[-1].cursor
    assert sorted(seen) == sorted(new.id for new in news)
    assert await backend.events.latest(TASKS_LOG) == cursor


async def test_a_waiting_claimer_is_rung_from_whichever_partition_has_the_task(
    backend: Backend, redis_cluster: RedisCluster, mesh_name: str
) -> None:
    other = await open_backend(redis_cluster.url, BackendOptions(mesh=mesh_name))
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    for _ in range(12):
        waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=5_000))
        new = a_task()
        await submit_one(other, new)
        assert (await waiting).rang
        assert [task.id for task in await claim_all(backend, claimer)] == [new.id]
    await other.aclose()


async def test_a_plain_url_of_one_server_leads_to_the_whole_cluster(
    backend: Backend, redis_cluster: RedisCluster, mesh_name: str
) -> None:
    news = [a_task() for _ in range(50)]
    await backend.tasks.submit(news)
    plain = await open_backend(redis_cluster.servers[1].url, BackendOptions(mesh=mesh_name))
    assert all(await plain.tasks.get([new.id for new in news]))
    await plain.aclose()


async def test_nodes_records_and_hints_work_from_any_server(
    backend: Backend, redis_cluster: RedisCluster, mesh_name: str
) -> None:
    other = await open_backend(redis_cluster.url, BackendOptions(mesh=mesh_name))
    member = await backend.nodes.join(a_profile("n1", capabilities=["gpu"]), vitals())
    assert [node.profile.id for node in await other.nodes.list()] == ["n1"]
    assert (await other.nodes.heartbeat(member, vitals())).live_nodes == 1
    assert await other.records.create("k", b"v") > 0
    async with backend.events.subscribe("talk") as hints:
        await other.events.publish("talk", {"n": 1})
        hint = await hints.get(timeout_ms=5_000)
    assert hint is not None
    assert hint.body == {"n": 1}
    await other.aclose()


async def test_a_url_that_names_no_cluster_or_a_database_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationError, match="database 0"):
        await open_backend("redis+cluster://127.0.0.1:7000/3", BackendOptions())
    with pytest.raises(ConfigurationError, match="host:port"):
        await open_backend("redis+cluster://127.0.0.1:none", BackendOptions())
    with pytest.raises(StoreUnreachableError):
        await open_backend(f"redis+cluster://127.0.0.1:{free_port()}", BackendOptions(timeout_ms=500))


async def test_a_password_is_used_with_every_primary_and_shown_nowhere(
    redis_cluster: RedisCluster, mesh_name: str
) -> None:
    try:
        for number in range(3):
            redis_cluster.run(number)("CONFIG", "SET", "requirepass", "right")
        hosts = redis_cluster.url.partition("//")[2]
        with pytest.raises(ConfigurationError) as caught:
            await open_backend(f"redis+cluster://:wrong@{hosts}", BackendOptions(mesh=mesh_name))
        assert "wrong@" not in str(caught.value)
        backend = await open_backend(f"redis+cluster://:right@{hosts}", BackendOptions(mesh=mesh_name))
        await backend.tasks.submit([a_task() for _ in range(30)])
        assert "right" not in (await backend.health()).url
        assert len(await claim_all(backend)) == 30
        await backend.aclose()
    finally:
        for number in range(3):
            redis_cluster.run(number)("CONFIG", "SET", "requirepass", "")
    ClusterMeshes(redis_cluster, partitions=24).finish(mesh_name)


async def test_one_server_of_the_url_that_answers_is_enough(redis_cluster: RedisCluster, mesh_name: str) -> None:
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{redis_cluster.servers[2].port}"
    backend = await open_backend(url, BackendOptions(mesh=mesh_name))
    assert (await submit_one(backend, a_task())).created
    await backend.aclose()
    ClusterMeshes(redis_cluster, partitions=24).finish(mesh_name)


async def test_calls_during_the_restart_of_a_primary_wait_for_it(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path)
    cluster.start(aof=True)
    backend = await open_backend(cluster.url, BackendOptions(mesh="restart", timeout_ms=15_000))
    news = [a_task() for _ in range(60)]
    await backend.tasks.submit(news[:30])
    cluster.servers[1].kill()
    async with asyncio.TaskGroup() as group:
        submitting = group.create_task(backend.tasks.submit(news[30:]))
        await asyncio.to_thread(cluster.servers[1].restart)
    assert all(receipt.created for receipt in submitting.result())
    assert len(await claim_all(backend, limit=100)) == 60
    await backend.aclose()
    cluster.stop()


def is_copied(port: int) -> bool:
    """Whether the replica of this primary has all its writes; WAIT would ask about those of its own connection only."""
    said = info(port, "replication")
    return bool(said.get("slave0", {}).get("offset") == said["master_repl_offset"])


async def test_calls_during_a_failover_reach_the_replica_that_took_over(tmp_path: Path) -> None:
    with RedisCluster(tmp_path, has_replicas=True) as cluster:
        backend = await open_backend(cluster.url, BackendOptions(mesh="failover", timeout_ms=20_000))
        news = [a_task() for _ in range(120)]
        await backend.tasks.submit(news[:60])
        await wait_until(lambda: all(is_copied(server.port) for server in cluster.servers[:3]), timeout=20)
        cluster.servers[1].kill()
        assert all(receipt.created for receipt in await backend.tasks.submit(news[60:]))
        held: list[str] = []

        async def is_all_held() -> bool:
            held.extend(task.id for task in await claim_all(backend, limit=200))
            return len(held) >= len(news)

        await wait_until(is_all_held, timeout=20)
        assert sorted(held) == sorted(new.id for new in news)
        await backend.aclose()


async def test_a_primary_that_stays_away_is_told_within_the_timeout(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        backend = await open_backend(cluster.url, BackendOptions(mesh="away", timeout_ms=1_000))
        cluster.servers[1].kill()
        async with asyncio.timeout(6):
            with pytest.raises(UnavailableError):
                await backend.tasks.submit([a_task() for _ in range(60)])
        await backend.aclose()
