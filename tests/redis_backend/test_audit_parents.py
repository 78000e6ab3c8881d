"""The audit of tasks that wait: whoever would not hear of an end is found, and hears of it once that is mended."""

from collections.abc import Callable

import pytest

from meshd.backends import Backend
from meshd.backends.redis.keys import Keys
from meshd.tasks.audit import Finding, Invariant
from meshd.tasks.model import NewTask, TaskState
from tests.redis_backend.raw import Raw
from tests.support.builders import a_claimer, a_task, completed, get_one, start_one
from tests.support.waiting import wait_until

Harm = Callable[[Raw, Keys, str], object]


async def audit(backend: Backend, *, repair: bool = False) -> list[Finding]:
    page = await backend.tasks.audit(repair=repair)
    findings = list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=repair, cursor=page.cursor)
        findings += page.findings
    return findings


@pytest.fixture
async def family(backend: Backend) -> tuple[NewTask, NewTask, NewTask]:
    """A parent, its child, and one that runs anyway."""
    parent = a_task("first")
    child, anyway = a_task("then", after=[parent.id]), a_task("then", after=[parent.id], runs_anyway=True)
    await backend.tasks.submit([parent, child, anyway])
    assert await audit(backend) == []
    return parent, child, anyway


async def complete(backend: Backend) -> None:
    await backend.tasks.finish([completed(await start_one(backend, a_claimer(types=["first"])))])


def end_unheard(raw: Raw, keys: Keys, parent: str) -> None:
    """As if the parent had completed and nobody had been told."""
    raw("HSET", keys.task(parent), "s", "completed", "fi", 1, "res", "1")
    for key, change in (("ready", -1), ("completed", 0)):
        raw("HINCRBY", keys.counts(), key, change)
    raw("ZADD", keys.index("ended", "completed"), 9e15, parent)
    raw("PEXPIRE", keys.task(parent), 60_000)
    raw("DEL", keys.queue("first", "normal"))
    raw("ZREM", keys.index("ready"), "first:normal")


def vanish(raw: Raw, keys: Keys, parent: str) -> None:
    """As if the parent had completed, nobody had been told, and it had been forgotten."""
    end_unheard(raw, keys, parent)
    raw("DEL", keys.task(parent))
    raw("ZREM", keys.index("ended", "completed"), parent)
    for chunk in raw("ZRANGE", keys.index("ids"), 0, -1):
        raw("ZREM", keys.index("ids", chunk.decode()), parent)


OPEN: dict[str, Harm] = {
    "children forgotten": lambda raw, keys, parent: raw("DEL", keys.index("kids", f"{parent}:0")),
    "flag forgotten": lambda raw, keys, parent: raw("HDEL", keys.task(parent), "ch"),
}
ENDED: dict[str, Harm] = {
    "end not sent": end_unheard,
    "parent gone": vanish,
}


@pytest.mark.parametrize("name", OPEN)
async def test_a_parent_that_forgot_its_children_is_reminded(
    backend: Backend, raw: Raw, keys: Keys, family: tuple[NewTask, NewTask, NewTask], name: str
) -> None:
    parent, child, anyway = family
    OPEN[name](raw, keys, parent.id)
    found = await audit(backend)
    assert {(finding.invariant, finding.subject) for finding in found} == {
        (Invariant.HAS_A_VISITOR, child.id),
        (Invariant.HAS_A_VISITOR, anyway.id),
    }
    assert all(finding.repaired for finding in await audit(backend, repair=True))
    assert await audit(backend) == []
    await complete(backend)
    assert {(await get_one(backend, new.id)).state for new in (child, anyway)} == {TaskState.READY}
    assert await audit(backend) == []


@pytest.mark.parametrize("name", ENDED)
async def test_children_nobody_told_of_an_end_hear_of_it_from_the_next_sweep(
    backend: Backend, raw: Raw, keys: Keys, family: tuple[NewTask, NewTask, NewTask], name: str
) -> None:
    parent, child, anyway = family
    ENDED[name](raw, keys, parent.id)
    assert {finding.subject for finding in await audit(backend)} == {child.id, anyway.id}
    assert all(finding.repaired for finding in await audit(backend, repair=True))
    assert await audit(backend) == []
    assert (await get_one(backend, child.id)).state is TaskState.BLOCKED
    await backend.tasks.sweep()
    task = await get_one(backend, child.id)
    expected = TaskState.CANCELLED if name == "parent gone" else TaskState.READY
    assert (task.state, "forgotten" in task.reason) == (expected, name == "parent gone")
    assert (await get_one(backend, anyway.id)).state is TaskState.READY
    assert await audit(backend) == []


async def test_an_end_on_its_way_is_no_finding_and_a_sweep_delivers_it(
    backend: Backend, raw: Raw, keys: Keys, family: tuple[NewTask, NewTask, NewTask]
) -> None:
    """As after the death of a node between an end and the news of it."""
    parent, child, _ = family
    end_unheard(raw, keys, parent.id)
    raw("ZADD", keys.index("outbox"), 0, f"{parent.id} completed ")
    assert await audit(backend) == []
    assert (await backend.tasks.sweep()).settled == 2
    assert (await get_one(backend, child.id)).state is TaskState.READY
    assert raw("EXISTS", keys.index("outbox"), keys.index("kids", f"{parent.id}:0")) == 0


async def test_what_is_no_index_is_said_and_left(
    backend: Backend, raw: Raw, keys: Keys, family: tuple[NewTask, NewTask, NewTask]
) -> None:
    _, child, anyway = family
    raw("HSET", keys.task(child.id), "wf", "")
    raw("HSET", keys.task(anyway.id), "s", "ready", "se", "1-1")
    found = await audit(backend, repair=True)
    assert (Invariant.HAS_A_VISITOR, child.id, False) in {(f.invariant, f.subject, f.repaired) for f in found}
    assert (Invariant.PARENTS_FIRST, anyway.id, False) in {(f.invariant, f.subject, f.repaired) for f in found}


async def test_a_family_leaves_no_key_of_its_own(
    backend: Backend, raw: Raw, keys: Keys, family: tuple[NewTask, NewTask, NewTask]
) -> None:
    parent, *_ = family
    assert raw("TTL", keys.index("kids", f"{parent.id}:0")) == -1
    await complete(backend)
    await wait_until(lambda: raw("EXISTS", keys.index("kids", f"{parent.id}:0"), keys.index("outbox")) == 0)
