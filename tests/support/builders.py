"""Values tests are made of, and steps they take, with everything a test does not care about filled in."""

import asyncio
from collections.abc import Iterable

from meshd.backends.port import Backend
from meshd.ids import new_id
from meshd.nodes.model import Agent, NodeProfile, NodeStatus, Vitals
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Completed,
    Failed,
    FailureKind,
    Hold,
    NewTask,
    Outcome,
    Placement,
    Priority,
    Receipt,
    Task,
    TaskPolicy,
)
from meshd.tasks.routing import route_of

LEASE_MS = 15_000
LONG_MS = 10_000
"""A wait that a bell must end."""
SHORT_MS = 400
"""A wait that no bell ends."""
NOTHING: tuple[list[str], bool] = ([], False)
"""What `offer` returns where there is nothing to do."""
ONLY_SUSPECTS: tuple[list[str], bool] = ([], True)
NO_JITTER = TaskPolicy(jitter=False)


def a_task(
    task_type: str = "work",
    *,
    requires: Iterable[str] = (),
    payload: bytes = b'{"n":1}',
    priority: Priority = Priority.NORMAL,
    policy: TaskPolicy = NO_JITTER,
    delay_ms: int = 0,
    expires_in_ms: int | None = None,
    key: str | None = None,
    context: bytes | None = None,
    watcher: str | None = None,
    placement: Placement | None = None,
    task_id: str | None = None,
    after: Iterable[str] = (),
    runs_anyway: bool = False,
) -> NewTask:
    """Return a task ready to submit."""
    return NewTask(
        id=task_id or new_id(key=key),
        type=task_type,
        payload=payload,
        route=route_of(task_type, requires),
        context=context,
        priority=priority,
        policy=policy,
        delay_ms=delay_ms,
        expires_in_ms=expires_in_ms,
        idempotency_key=key,
        created_by="test",
        watcher=watcher,
        placement=placement,
        depends_on=tuple(after),
        runs_anyway=runs_anyway,
    )


def meant_for(node_id: str, *, hold_back_ms: int = 1_000) -> Placement:
    """Return a soft placement."""
    return Placement(node_id=node_id, hold_back_ms=hold_back_ms)


def pinned_to(node_id: str) -> Placement:
    return Placement(node_id=node_id, pinned=True)


def a_claimer(
    node_id: str = "n1", *, types: Iterable[str] = ("work",), holds: Iterable[str] = (), incarnation: int = 1
) -> Claimer:
    """Return a claimer that handles `types` and holds the capabilities `holds`."""
    return Claimer(node_id=node_id, incarnation=incarnation, task_types=frozenset(types), capabilities=frozenset(holds))


def a_profile(
    node_id: str = "n1",
    *,
    capabilities: Iterable[str] = (),
    types: Iterable[str] = (),
    agents: Iterable[Agent] = (),
    node_type: str = "general",
    capacity: int = 4,
) -> NodeProfile:
    """Return a profile a node may join with."""
    return NodeProfile(
        id=node_id,
        type=node_type,
        host="localhost",
        pid=1,
        capabilities=frozenset(capabilities),
        task_types=frozenset(types),
        agents=tuple(agents),
        capacity=capacity,
        version="1",
    )


def vitals(status: NodeStatus = NodeStatus.ACTIVE, *, open_tasks: int = 0) -> Vitals:
    """Return what a node measures."""
    return Vitals(status=status, open_tasks=open_tasks, memory_mb=12.5, cpu_percent=3.0)


def hold_of(task: Task) -> Hold:
    """Return the proof of the claim that returned `task`."""
    return Hold(task_id=task.id, token=task.token)


def completed(task: Task, result: bytes = b'"done"') -> Completed:
    return Completed(hold=hold_of(task), result=result)


def failed(
    task: Task, *, retry_in_ms: int | None = 0, kind: FailureKind = FailureKind.ERROR, message: str = "boom"
) -> Failed:
    return Failed(hold=hold_of(task), kind=kind, message=message, retry_in_ms=retry_in_ms, detail="traceback")


async def submit_one(backend: Backend, new: NewTask) -> Receipt:
    """Submit one task."""
    (receipt,) = await backend.tasks.submit([new])
    return receipt


async def claim(backend: Backend, claimer: Claimer | None = None, *, limit: int = 100, alone: bool = False) -> Claimed:
    """Claim once."""
    return await backend.tasks.claim(claimer or a_claimer(), limit=limit, lease_ms=LEASE_MS, alone=alone)


async def offer(backend: Backend, claimer: Claimer | None = None, *, alone: bool = False) -> tuple[list[str], bool]:
    """Return the ids a claim hands out, and whether suspects wait."""
    claimed = await claim(backend, claimer, alone=alone)
    return [task.id for task in claimed.tasks], claimed.suspects_wait


async def claim_all(backend: Backend, claimer: Claimer | None = None, *, limit: int = 100) -> list[Task]:
    """Return what the claimer is offered in one call."""
    return list((await claim(backend, claimer, limit=limit)).tasks)


async def claim_one(backend: Backend, claimer: Claimer | None = None, *, alone: bool = False) -> Task:
    """Claim exactly one task."""
    (task,) = (await claim(backend, claimer, limit=1, alone=alone)).tasks
    return task


async def start_one(backend: Backend, claimer: Claimer | None = None, *, alone: bool = False) -> Task:
    """Claim and start exactly one task; return it as claimed."""
    task = await claim_one(backend, claimer, alone=alone)
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.OK]
    return task


async def answer_bell(backend: Backend, claimer: Claimer | None = None, *, limit: int = 100) -> list[Task]:
    """Return what a waiting claimer gets once its bell rings, which must be soon: with the bell, and by a claim."""
    claimer = claimer or a_claimer()
    async with asyncio.timeout(LONG_MS / 2_000):
        wake = await backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS)
    assert wake.rang
    rest = await claim_all(backend, claimer, limit=limit - len(wake.tasks)) if len(wake.tasks) < limit else []
    return [*wake.tasks, *rest]


async def rung(backend: Backend, *claimers: Claimer) -> list[bool]:
    """Return whose bells ring within a short time."""
    wakes = await asyncio.gather(*(backend.tasks.wait_for_work(one, timeout_ms=SHORT_MS) for one in claimers))
    return [wake.rang for wake in wakes]


async def crash(backend: Backend, held: Task) -> Task:
    """Take back all its holder holds, as after the holder's death; return the task as it is then."""
    assert held.node_id is not None
    await backend.tasks.reclaim(held.node_id, up_to_incarnation=held.incarnation)
    return await get_one(backend, held.id)


async def a_suspect(backend: Backend, new: NewTask | None = None, *, claimer: Claimer | None = None) -> Task:
    """Submit a task that was running when its node died, and return it: the store must hold no other ready one."""
    await submit_one(backend, new or a_task())
    return await crash(backend, await start_one(backend, claimer or a_claimer("n0")))


async def get_one(backend: Backend, task_id: str) -> Task:
    """Return a task that must be there."""
    (task,) = await backend.tasks.get([task_id])
    assert task is not None, f"task {task_id} is not kept"
    return task
