"""What the indexes of tasks look like in Redis, and that nothing is left in them."""

from random import Random

from meshd.backends import Backend
from meshd.backends.redis.keys import Keys
from meshd.ids import new_id
from meshd.tasks.model import Claimer, Completed, TaskFilter
from tests.redis_backend.raw import Raw
from tests.support.builders import (
    a_claimer,
    a_task,
    claim_all,
    claim_one,
    get_one,
    hold_of,
    meant_for,
    pinned_to,
    start_one,
    submit_one,
)
from tests.support.leaks import MeshKeys
from tests.support.redis_server import RedisServer


async def listed(backend: Backend) -> list[str]:
    """Return the ids of all tasks, page by page."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await backend.tasks.list(TaskFilter(), limit=50, cursor=cursor)
        ids += [task.id for task in page.tasks]
        cursor = page.cursor
        if cursor is None:
            return ids


def kinds(server: RedisServer, mesh: str) -> set[str]:
    keys = MeshKeys(server.url, mesh)
    found = {key.split("}:", 1)[1] for key in keys.all()}
    keys.close()
    return found


async def test_ids_are_listed_in_order_in_whatever_order_they_come(backend: Backend, keys: Keys, raw: Raw) -> None:
    ids = [new_id() for _ in range(700)]
    Random(7).shuffle(ids)
    for task_id in ids[:150]:
        await submit_one(backend, a_task(task_id=task_id))
    for at in range(150, 700, 50):
        await backend.tasks.submit([a_task(task_id=task_id) for task_id in ids[at : at + 50]])
    assert await listed(backend) == sorted(ids, reverse=True)
    index = keys.task("x").replace(":t:x", ":ids")
    chunks = [f"{index}:{chunk.decode()}" for chunk in raw("ZRANGE", index, 0, -1)]
    assert sum(raw("ZCARD", chunk) for chunk in chunks) == 700
    assert max(raw("ZCARD", chunk) for chunk in chunks) <= 128
    assert {raw("OBJECT", "ENCODING", chunk) for chunk in chunks} <= {b"listpack", b"ziplist"}


async def test_forgotten_ids_leave_no_chunk(backend: Backend, redis_server: RedisServer, mesh_name: str) -> None:
    news = [a_task() for _ in range(200)]
    await backend.tasks.submit(news)
    for new in news:
        await backend.tasks.cancel(new.id, reason="no")
    assert all(await backend.tasks.purge([new.id for new in news]))
    assert not any(kind.startswith("ids") for kind in kinds(redis_server, mesh_name))
    await submit_one(backend, a_task())
    assert len(await listed(backend)) == 1


async def test_a_task_handed_over_was_never_in_a_queue(backend: Backend, keys: Keys, raw: Raw) -> None:
    claimer = a_claimer()
    await submit_one(backend, a_task())
    await backend.tasks.finish([Completed(hold=hold_of(await start_one(backend, claimer)), result=b"1")])
    assert await claim_all(backend, claimer) == []
    new = a_task()
    await submit_one(backend, new)
    assert raw("XLEN", keys.queue("work", "normal")) == 0
    bell = keys.bell(_bell_of(claimer, raw, keys))
    assert raw("LLEN", bell) == 1
    assert 0 < raw("PTTL", bell) <= 10_000
    (task,) = (await backend.tasks.wait_for_work(claimer, timeout_ms=0)).tasks
    assert task == await get_one(backend, new.id)
    assert await claim_all(backend, claimer) == []
    assert raw("EXISTS", bell) == 0


def _bell_of(claimer: Claimer, raw: Raw, keys: Keys) -> str:
    (key,) = raw("KEYS", keys.bell(f"{claimer.node_id}:*").replace("{", "\\{"))
    return str(key.decode().split(":bell:")[1])


async def test_a_place_that_ran_empty_leaves_no_index(
    backend: Backend, redis_server: RedisServer, mesh_name: str
) -> None:
    placed, pinned = a_task(placement=meant_for("gone")), a_task(placement=pinned_to("gone"))
    await backend.tasks.submit([placed, pinned])
    assert {"ready:@gone", "placed:gone", "backs"} <= kinds(redis_server, mesh_name)
    await backend.tasks.reclaim("gone", up_to_incarnation=1)
    await backend.tasks.cancel(pinned.id, reason="no")
    assert not {"ready:@gone", "placed:gone", "backs", "front:work:normal@gone"} & kinds(redis_server, mesh_name)
    assert (await claim_one(backend)).id == placed.id


async def test_a_usual_task_is_kept_compactly(backend: Backend, keys: Keys, raw: Raw) -> None:
    new = a_task(payload=b"x" * 1_000, placement=meant_for("n1"))
    await submit_one(backend, new)
    assert raw("OBJECT", "ENCODING", keys.task(new.id)) in {b"listpack", b"ziplist"}
    await claim_one(backend)
    assert raw("OBJECT", "ENCODING", keys.task(new.id)) in {b"listpack", b"ziplist"}
