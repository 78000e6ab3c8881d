"""A mesh of several partitions on one server: what is the same, and what is promised a little less."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from meshd import Mesh, Settings, TaskRequest
from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.redis.partitions import partition_of
from meshd.errors import (
    BackpressureError,
    ConfigurationError,
    InvalidArgumentError,
    LogTrimmedError,
    ParentsApartError,
)
from meshd.events import START
from meshd.ids import TAIL, new_id
from meshd.tasks.model import Outcome, TaskFilter, TaskState, TaskTimings
from meshd.tasks.store import TASKS_LOG
from tests.redis_backend.raw import Raw
from tests.support.builders import a_claimer, a_task, claim_all, completed, failed, hold_of, start_one, submit_one
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes
from tests.support.waiting import wait_until

COUNT = 6
LONG_MS = 10_000


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name, partitions=COUNT, tasks=TaskTimings(poll_ms=LONG_MS))


@pytest.fixture
async def backend(redis_server: RedisServer, options: BackendOptions) -> AsyncIterator[Backend]:
    backend = await open_backend(redis_server.url, options)
    yield backend
    await backend.aclose()
    RedisMeshes(redis_server.url).finish(options.mesh)


@pytest.fixture
async def other(redis_server: RedisServer, options: BackendOptions, backend: Backend) -> AsyncIterator[Backend]:
    """The same mesh as another process sees it."""
    del backend
    other = await open_backend(redis_server.url, options)
    yield other
    await other.aclose()


async def test_tasks_are_kept_in_every_partition(backend: Backend, raw: Raw, mesh_name: str) -> None:
    await backend.tasks.submit([a_task() for _ in range(200)])
    sizes = [int(raw("HGET", f"mesh:{{{mesh_name}:p{number}}}:counts", "ready")) for number in range(COUNT)]
    assert sum(sizes) == 200
    assert min(sizes) > 5


async def test_the_number_of_partitions_is_settled_when_a_mesh_is_first_opened(
    backend: Backend, redis_server: RedisServer, mesh_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    news = [a_task() for _ in range(20)]
    await backend.tasks.submit(news)
    with caplog.at_level(logging.WARNING):
        late = await open_backend(redis_server.url, BackendOptions(mesh=mesh_name, partitions=3))
    assert "6 partitions for good" in caplog.text
    assert all(await late.tasks.get([new.id for new in news]))
    await late.aclose()


@pytest.mark.parametrize("count", [0, 257])
async def test_a_number_out_of_bounds_is_a_matter_of_configuration(redis_server: RedisServer, count: int) -> None:
    with pytest.raises(ConfigurationError, match="partitions"):
        await open_backend(redis_server.url, BackendOptions(mesh="bounds", partitions=count))


async def test_one_key_names_one_task_whoever_submits(backend: Backend, other: Backend) -> None:
    tries = [a_task(key=f"order-{n % 10}") for n in range(40)]
    receipts = [
        *await backend.tasks.submit(tries[:20]),
        *await other.tasks.submit(tries[20:]),
    ]
    assert sum(receipt.created for receipt in receipts) == 10
    assert len({receipt.task_id for receipt in receipts}) == 10


async def test_an_id_that_does_not_fit_its_key_is_refused_before_anything_is_created(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError, match="new_id"):
        await backend.tasks.submit([a_task(), a_task(key="k", task_id=new_id(key="other"))])
    assert (await backend.tasks.counts())[TaskState.READY] == 0


async def test_the_queue_size_is_shared_out(redis_server: RedisServer, mesh_name: str) -> None:
    options = BackendOptions(mesh=mesh_name, partitions=COUNT, queue_size=60)
    backend = await open_backend(redis_server.url, options)
    refused = 0
    for _ in range(120):
        try:
            await submit_one(backend, a_task())
        except BackpressureError:
            refused += 1
    assert 120 - refused == (await backend.tasks.counts())[TaskState.READY] == 60
    await backend.aclose()
    RedisMeshes(redis_server.url).finish(mesh_name)


async def test_steps_of_one_batch_reach_every_partition_and_are_answered_in_order(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(50)])
    tasks = await claim_all(backend)
    assert len(tasks) == 50
    assert list(await backend.tasks.start([hold_of(task) for task in tasks])) == [Outcome.OK] * 50
    endings = [completed(task) if at % 2 else failed(task, retry_in_ms=None) for at, task in enumerate(tasks)]
    assert list(await backend.tasks.finish(endings)) == [Outcome.OK] * 50
    states = [task.state for task in await backend.tasks.get([task.id for task in tasks]) if task is not None]
    assert states == [TaskState.COMPLETED if at % 2 else TaskState.DEAD for at in range(50)]


async def test_what_is_submitted_one_after_the_other_is_found_by_claims_of_one(backend: Backend) -> None:
    news = [a_task() for _ in range(20)]
    for new in news:
        await submit_one(backend, new)
    found = [task.id for _ in news for task in await claim_all(backend, limit=1)]
    assert sorted(found) == sorted(new.id for new in news)


async def test_a_ring_that_its_claimer_cannot_follow_is_passed_on(backend: Backend, other: Backend) -> None:
    """Both wait everywhere, and the first is rung for all: it takes one task and the other one gets the rest."""
    first, second = a_claimer("n1"), a_claimer("n2")
    for claimer in (first, second):
        assert await claim_all(backend, claimer) == []
    await other.tasks.submit([a_task() for _ in range(60)])
    await backend.tasks.wait_for_work(first, timeout_ms=LONG_MS)
    found = await claim_all(backend, first, limit=1)
    async with asyncio.timeout(LONG_MS / 2_000):
        while len(found) < 60:
            await backend.tasks.wait_for_work(second, timeout_ms=500)
            found += await claim_all(backend, second)


async def test_a_claimer_that_is_full_is_not_waited_for(backend: Backend, other: Backend) -> None:
    full, hungry = a_claimer("n1"), a_claimer("n2")
    assert await claim_all(backend, full) == []
    await other.tasks.submit([a_task()])
    assert (await backend.tasks.wait_for_work(full, timeout_ms=LONG_MS)).rang
    assert len(await claim_all(backend, full, limit=1)) == 1
    assert await claim_all(other, hungry) == []
    for _ in range(12):
        new = a_task()
        await submit_one(other, new)
        assert (await other.tasks.wait_for_work(hungry, timeout_ms=LONG_MS)).rang
        assert [task.id for task in await claim_all(other, hungry)] == [new.id]


async def test_a_lost_subscription_is_made_again_and_the_work_found(backend: Backend, other: Backend, raw: Raw) -> None:
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    raw("CLIENT", "KILL", "TYPE", "pubsub")
    await submit_one(other, a_task())
    assert len(await claim_all(backend, claimer)) == 1
    new = a_task()
    assert await claim_all(backend, claimer) == []
    await submit_one(other, new)
    assert (await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS)).rang
    assert [task.id for task in await claim_all(backend, claimer)] == [new.id]


async def test_an_idle_poll_costs_a_read_a_partition_and_one_claim(backend: Backend, raw: Raw) -> None:
    claimer = a_claimer()
    for _ in range(2):
        assert await claim_all(backend, claimer) == []
    raw("CONFIG", "RESETSTAT")
    assert await claim_all(backend, claimer) == []
    calls = {name: stats["calls"] for name, stats in raw("INFO", "commandstats").items()}
    assert calls["cmdstat_evalsha"] == 1


async def test_a_page_of_a_listing_misses_nothing(backend: Backend) -> None:
    news = [a_task() for _ in range(70)]
    await backend.tasks.submit(news)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await backend.tasks.list(TaskFilter(), limit=9, cursor=cursor or None)
        seen += [task.id for task in page.tasks]
        cursor = page.cursor
    assert seen == sorted((new.id for new in news), reverse=True)


async def test_the_task_log_has_every_event_once_and_a_cursor_for_each(backend: Backend) -> None:
    for _ in range(10):
        await submit_one(backend, a_task())
        await backend.tasks.finish([completed(await start_one(backend))])
    everything = await backend.events.read(TASKS_LOG)
    assert len(everything) == 40
    for at in range(0, 40, 7):
        rest = await backend.events.read(TASKS_LOG, after=everything[at].cursor)
        assert {event.body["token"] for event in rest} <= {event.body["token"] for event in everything}
        assert len(rest) == 39 - at
    assert await backend.events.latest(TASKS_LOG) == everything[-1].cursor


@pytest.mark.parametrize("cursor", ["1", "1.2", "a.b.c.d.e.f", "1.2.3.4.5.6.7"])
async def test_a_cursor_of_another_log_is_refused(backend: Backend, cursor: str) -> None:
    with pytest.raises(InvalidArgumentError, match="cursor"):
        await backend.events.read(TASKS_LOG, after=cursor)


async def test_a_reader_that_missed_trimmed_events_of_one_partition_is_told(
    backend: Backend, raw: Raw, mesh_name: str
) -> None:
    await backend.tasks.submit([a_task() for _ in range(30)])
    cursor = (await backend.events.read(TASKS_LOG, limit=1))[0].cursor
    await backend.tasks.submit([a_task() for _ in range(30)])
    for number in range(COUNT):
        raw("XTRIM", f"mesh:{{{mesh_name}:p{number}}}:ev:tasks", "MAXLEN", 1)
    with pytest.raises(LogTrimmedError) as caught:
        await backend.events.read(TASKS_LOG, after=cursor)
    assert len(caught.value.oldest.split(".")) == COUNT
    assert await backend.events.read(TASKS_LOG, after=START)


async def test_closing_ends_a_wait(redis_server: RedisServer, mesh_name: str) -> None:
    backend = await open_backend(redis_server.url, BackendOptions(mesh=mesh_name, partitions=COUNT))
    claimer = a_claimer()
    assert await claim_all(backend, claimer) == []
    waiting = asyncio.create_task(backend.tasks.wait_for_work(claimer, timeout_ms=60_000))
    await asyncio.sleep(0)
    await backend.aclose()
    await wait_until(waiting.done)
    RedisMeshes(redis_server.url).finish(mesh_name)


async def test_a_task_cannot_wait_for_one_of_another_partition_and_nothing_is_created(backend: Backend) -> None:
    news = [a_task() for _ in range(40)]
    await backend.tasks.submit(news)
    far = next(new for new in news if partition_of(new.id, COUNT) != partition_of(news[0].id, COUNT))
    child = a_task("then", after=[news[0].id, far.id], task_id=new_id()[:-TAIL] + news[0].id[-TAIL:])
    with pytest.raises(ParentsApartError) as caught:
        await backend.tasks.submit([a_task(), child])
    assert caught.value.parent_id == far.id
    assert sum((await backend.tasks.counts()).values()) == 40


async def test_what_hangs_together_is_kept_together_by_itself(
    backend: Backend, redis_server: RedisServer, options: BackendOptions
) -> None:
    settings = Settings.load(mesh=options.mesh, redis={"partitions": COUNT})
    async with Mesh(redis_server.url, settings=settings) as mesh:
        roots = [TaskRequest(type="first") for _ in range(12)]
        joint = TaskRequest(type="then", depends_on=roots)
        handles = await mesh.tasks.submit_many([*roots, joint])
        last = await mesh.tasks.submit("last", depends_on=[handles[-1]])
        assert len({partition_of(handle.id, COUNT) for handle in (*handles, last)}) == 1
        apart = [await mesh.tasks.submit("alone", idempotency_key=f"k{number}") for number in range(12)]
        with pytest.raises(ParentsApartError, match="submit_many"):
            await mesh.tasks.submit("then", depends_on=apart)
    held = await claim_all(backend, a_claimer(types=["first"]))
    await backend.tasks.start([hold_of(task) for task in held])
    await backend.tasks.finish([completed(task) for task in held])
    (task,) = await backend.tasks.get([handles[-1].id])
    assert task is not None
    assert task.state is TaskState.READY
