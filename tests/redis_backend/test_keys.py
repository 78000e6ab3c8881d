"""What a mesh leaves in Redis, seen from outside."""

import re

from meshd.backends import Backend
from meshd.backends.redis import scripts
from meshd.backends.redis.keys import GROUP, PERMANENT, Keys
from meshd.clock import ManualClock
from tests.redis_backend.raw import Raw
from tests.support.builders import (
    a_claimer,
    a_profile,
    a_task,
    claim_all,
    claim_one,
    completed,
    failed,
    hold_of,
    start_one,
    submit_one,
    vitals,
)
from tests.support.leaks import MeshKeys
from tests.support.redis_server import RedisServer

DAY_MS = 86_400_000
TIDY = scripts.load("task_tidy", flagged=False).text


async def test_the_pending_list_shows_who_holds_what(backend: Backend, keys: Keys, raw: Raw) -> None:
    await backend.tasks.submit([a_task() for _ in range(5)])
    held = await claim_all(backend, a_claimer("n1"), limit=2)
    await claim_all(backend, a_claimer("n2"), limit=1)
    queue = keys.queue("work", "normal")
    pending = raw("XPENDING", queue, GROUP)
    assert pending["pending"] == 3
    assert {entry["name"]: int(entry["pending"]) for entry in pending["consumers"]} == {b"n1": 2, b"n2": 1}
    assert raw("XLEN", queue) == 5
    await backend.tasks.start([hold_of(task) for task in held])
    await backend.tasks.finish([completed(task) for task in held])
    assert raw("XPENDING", queue, GROUP)["pending"] == 1
    assert raw("XLEN", queue) == 3


async def test_a_task_that_ended_has_a_life_and_a_redriven_one_has_none(backend: Backend, keys: Keys, raw: Raw) -> None:
    new = a_task(key="once")
    await submit_one(backend, new)
    assert raw("PTTL", keys.task(new.id)) == -1
    await backend.tasks.finish([failed(await start_one(backend), retry_in_ms=None)])
    assert 6 * DAY_MS < raw("PTTL", keys.task(new.id)) < 8 * DAY_MS
    assert 6 * DAY_MS < raw("PTTL", keys.idempotency("once")) < 8 * DAY_MS
    await backend.tasks.redrive(new.id)
    assert raw("PTTL", keys.task(new.id)) == raw("PTTL", keys.idempotency("once")) == -1


async def test_a_mesh_that_did_its_work_and_was_swept_leaves_only_its_books(
    backend: Backend, clock: ManualClock, redis_server: RedisServer, mesh_name: str
) -> None:
    await backend.tasks.submit([a_task(key="a", expires_in_ms=60_000), a_task(delay_ms=10), a_task()])
    clock.advance(ms=20)
    await backend.tasks.sweep()
    for _ in range(3):
        await backend.tasks.finish([completed(await start_one(backend))])
    clock.advance(ms=DAY_MS + 1)
    await backend.tasks.sweep()
    looker = MeshKeys(redis_server.url, mesh_name)
    kinds = {key.split("}:")[1].partition(":")[0] for key in looker.all()}
    looker.close()
    assert not kinds & {"t", "idem", "front", "held", "lease", "sched", "dl", "ended", "ids", "ready"}


async def test_routes_nobody_uses_are_tidied_away(backend: Backend, clock: ManualClock, keys: Keys, raw: Raw) -> None:
    await submit_one(backend, a_task("rare"))
    assert await claim_all(backend, a_claimer("n1", types=["rare"]))
    await submit_one(backend, a_task("kept"))
    clock.advance(ms=2 * 3_600_000)
    reply = raw("EVAL", TIDY, 1, keys.clock("p0"), str(clock()), 3_600_000)
    assert reply[:2] == [b"ok", 0]
    assert raw("EXISTS", keys.queue("rare", "normal")) == 1
    (task_id,) = raw("SMEMBERS", keys.held("n1"))
    await backend.tasks.cancel(task_id.decode(), reason="done")
    clock.advance(ms=2 * 3_600_000)
    reply = raw("EVAL", TIDY, 1, keys.clock("p0"), str(clock()), 3_600_000)
    assert reply[1] == 1
    assert raw("EXISTS", keys.queue("rare", "normal")) == 0
    assert raw("EXISTS", keys.queue("kept", "normal")) == 1
    await submit_one(backend, a_task("rare"))
    assert (await claim_one(backend, a_claimer("n1", types=["rare"]))).type == "rare"


async def test_a_node_nobody_hears_of_again_ends_by_itself(
    backend: Backend, raw: Raw, redis_server: RedisServer, mesh_name: str
) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["gpu"]), vitals())
    looker = MeshKeys(redis_server.url, mesh_name)
    left = [key for key in looker.all() if not re.search(":(clock|shape|ev:nodes)$", key)]
    looker.close()
    assert len(left) >= 3
    assert all(raw("PTTL", key) > 0 for key in left)


def test_the_permanent_list_holds_sound_patterns() -> None:
    assert all(re.compile(pattern) for pattern in PERMANENT)
    assert not any(re.fullmatch(pattern, "mesh:{m:p0}:bell:n1") for pattern in PERMANENT)
    assert not any(re.fullmatch(pattern, "mesh:{m:c}:node:n1") for pattern in PERMANENT)
