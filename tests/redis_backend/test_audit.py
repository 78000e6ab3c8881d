"""The audit finds each way an index can be broken, and mends it from the records."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from meshd.backends import Backend
from meshd.backends.redis.keys import Keys
from meshd.tasks.audit import Finding, Invariant
from meshd.tasks.model import Released, TaskState
from tests.redis_backend.raw import Raw
from tests.support.builders import (
    a_claimer,
    a_task,
    claim_all,
    claim_one,
    completed,
    hold_of,
    meant_for,
    start_one,
    submit_one,
)

Lay = Callable[[Backend], Awaitable[str]]
Break = Callable[[Raw, Keys, str], object]


async def ready(backend: Backend) -> str:
    return (await submit_one(backend, a_task(key="once"))).task_id


async def scheduled(backend: Backend) -> str:
    return (await submit_one(backend, a_task(delay_ms=60_000))).task_id


async def mortal(backend: Backend) -> str:
    return (await submit_one(backend, a_task(expires_in_ms=60_000))).task_id


async def placed(backend: Backend) -> str:
    return (await submit_one(backend, a_task(placement=meant_for("n1", hold_back_ms=60_000)))).task_id


async def running(backend: Backend) -> str:
    await submit_one(backend, a_task())
    return (await start_one(backend)).id


async def released(backend: Backend) -> str:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    await backend.tasks.finish([Released(hold=hold_of(task))])
    return task.id


async def ended(backend: Backend) -> str:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.finish([completed(task)])
    return task.id


@dataclass(frozen=True, slots=True)
class Case:
    """How a task is laid down, how an index is harmed, and what the audit must say."""

    lay: Lay
    harm: Break
    invariant: Invariant
    what: str


def entry_of(raw: Raw, keys: Keys, task_id: str) -> bytes:
    entry: bytes = raw("HGET", keys.task(task_id), "se")
    return entry


QUEUE = "work:normal"
CASES: dict[str, Case] = {
    "lease gone": Case(
        running, lambda raw, k, t: raw("ZREM", k.index("lease"), t), Invariant.HELD_MEANS_LEASED, "leased"
    ),
    "lease wrong": Case(
        running, lambda raw, k, t: raw("ZADD", k.index("lease"), 7, t), Invariant.HELD_MEANS_LEASED, "the index says 7"
    ),
    "held gone": Case(
        running, lambda raw, k, t: raw("DEL", k.held("n1")), Invariant.HELD_MEANS_LEASED, "what node n1 holds"
    ),
    "due gone": Case(
        scheduled, lambda raw, k, t: raw("ZREM", k.index("sched"), t), Invariant.HAS_A_VISITOR, "nothing makes it ready"
    ),
    "deadline gone": Case(
        mortal, lambda raw, k, t: raw("ZREM", k.index("dl"), t), Invariant.HAS_A_VISITOR, "its deadline"
    ),
    "stream entry gone": Case(
        ready,
        lambda raw, k, t: raw("XDEL", k.queue("work", "normal"), entry_of(raw, k, t)),
        Invariant.HAS_A_VISITOR,
        "no queue leads to it",
    ),
    "stream gone": Case(
        ready, lambda raw, k, t: raw("DEL", k.queue("work", "normal")), Invariant.HAS_A_VISITOR, "no queue leads to it"
    ),
    "cursor past it": Case(
        ready,
        lambda raw, k, t: raw("HSET", k.index("cursors"), QUEUE, entry_of(raw, k, t)),
        Invariant.HAS_A_VISITOR,
        "no queue leads to it",
    ),
    "front gone": Case(
        released, lambda raw, k, t: raw("DEL", k.index("front", QUEUE)), Invariant.HAS_A_VISITOR, "no queue leads to it"
    ),
    "queue not offered": Case(
        ready, lambda raw, k, t: raw("ZREM", k.index("ready"), QUEUE), Invariant.HAS_A_VISITOR, "not offered"
    ),
    "route unknown": Case(
        ready, lambda raw, k, t: raw("ZREM", k.index("routes"), "work"), Invariant.HAS_A_VISITOR, "not offered"
    ),
    "hold-back gone": Case(
        placed, lambda raw, k, t: raw("ZREM", k.index("backs"), t), Invariant.HAS_A_VISITOR, "nothing ends that"
    ),
    "retention gone": Case(
        ended, lambda raw, k, t: raw("ZREM", k.index("ended", "completed"), t), Invariant.HAS_A_VISITOR, "forget it"
    ),
    "record for ever": Case(
        ended, lambda raw, k, t: raw("PERSIST", k.task(t)), Invariant.HAS_A_VISITOR, "never expires"
    ),
    "key gone": Case(
        ready, lambda raw, k, t: raw("DEL", k.idempotency("once")), Invariant.ONE_TASK_PER_KEY, "names nothing"
    ),
    "token too high": Case(
        running, lambda raw, k, t: raw("HSET", k.task(t), "k", "8999999999999999"), Invariant.TOKENS_RISE, "above every"
    ),
    "counter wrong": Case(
        ready, lambda raw, k, t: raw("HSET", k.counts(), "ready", 9), Invariant.COUNTS_AGREE, "the counter says 9"
    ),
    "listed, gone": Case(ready, lambda raw, k, t: raw("DEL", k.task(t)), Invariant.NO_STRAYS, "there is no such task"),
    "lease of nothing": Case(
        ready, lambda raw, k, t: raw("ZADD", k.index("lease"), 1, "ghost"), Invariant.NO_STRAYS, "is in lease"
    ),
    "due and ready": Case(
        ready, lambda raw, k, t: raw("ZADD", k.index("sched"), 1, t), Invariant.NO_STRAYS, "a task that is ready"
    ),
    "entry of nothing": Case(
        ready,
        lambda raw, k, t: raw("XADD", k.queue("work", "normal"), "*", "t", "ghost"),
        Invariant.NO_STRAYS,
        "is in q work:normal",
    ),
    "not listed": Case(
        running,
        lambda raw, k, t: [
            raw("ZREM", k.index("ids", chunk.decode()), t) for chunk in raw("ZRANGE", k.index("ids"), 0, -1)
        ],
        Invariant.NO_STRAYS,
        "not listed",
    ),
}


async def audit(backend: Backend, *, repair: bool = False) -> list[Finding]:
    page = await backend.tasks.audit(repair=repair)
    findings = list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=repair, cursor=page.cursor)
        findings += page.findings
    return findings


@pytest.mark.parametrize("name", CASES)
async def test_what_is_broken_is_found_mended_and_found_no_more(
    backend: Backend, raw: Raw, keys: Keys, name: str
) -> None:
    case = CASES[name]
    task_id = await case.lay(backend)
    assert await audit(backend) == []
    case.harm(raw, keys, task_id)
    seen = await audit(backend)
    assert any(finding.invariant is case.invariant and case.what in finding.what for finding in seen)
    assert not any(finding.repaired for finding in seen)
    assert all(finding.repaired for finding in await audit(backend, repair=True))
    assert await audit(backend) == []


@pytest.mark.parametrize("name", ["stream entry gone", "stream gone", "cursor past it", "front gone", "route unknown"])
async def test_a_mended_task_is_handed_out_again(backend: Backend, raw: Raw, keys: Keys, name: str) -> None:
    case = CASES[name]
    task_id = await case.lay(backend)
    case.harm(raw, keys, task_id)
    await audit(backend, repair=True)
    task = await start_one(backend)
    assert task.id == task_id
    await backend.tasks.finish([completed(task)])
    assert (await backend.tasks.counts())[TaskState.READY] == 0
    assert await audit(backend) == []


async def test_what_no_index_can_mend_is_said_and_left(backend: Backend, raw: Raw, keys: Keys) -> None:
    task_id = await ready(backend)
    raw("HSET", keys.task(task_id), "cl", 21)
    (finding,) = await audit(backend, repair=True)
    assert (finding.invariant, finding.repaired) == (Invariant.WITHIN_LIMITS, False)


async def test_everything_lost_but_the_records_and_their_list_is_rebuilt(
    backend: Backend, raw: Raw, keys: Keys
) -> None:
    await backend.tasks.submit([a_task(requires=["gpu"]) if n % 3 else a_task() for n in range(30)])
    kept = [keys.task(""), keys.index("ids"), keys.clock("p0"), keys.index("prof", ""), keys.index("profiles")]
    for key in raw("KEYS", "*"):
        if key.decode().startswith(keys.task("")[:-2]) and not any(key.decode().startswith(name) for name in kept):
            raw("DEL", key)
    await audit(backend, repair=True)
    assert await audit(backend) == []
    assert len(await claim_all(backend, a_claimer(holds=["gpu"]))) == 30
