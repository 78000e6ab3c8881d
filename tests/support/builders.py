"""Values tests are made of, with everything a test does not care about filled in."""

from collections.abc import Iterable

from meshd.backends.port import Backend
from meshd.ids import new_id
from meshd.nodes.model import Agent, NodeProfile, NodeStatus, Vitals
from meshd.tasks.model import (
    Claimer,
    Completed,
    Failed,
    FailureKind,
    Hold,
    NewTask,
    Outcome,
    Priority,
    Receipt,
    Task,
    TaskPolicy,
)
from meshd.tasks.routing import route_of

LEASE_MS = 15_000
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
    task_id: str | None = None,
) -> NewTask:
    """Return a task ready to submit."""
    return NewTask(
        id=task_id or new_id(),
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
    )


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


async def claim_all(backend: Backend, claimer: Claimer | None = None, *, limit: int = 100) -> list[Task]:
    """Claim what the claimer is offered in one call."""
    return list(await backend.tasks.claim(claimer or a_claimer(), limit=limit, lease_ms=LEASE_MS))


async def claim_one(backend: Backend, claimer: Claimer | None = None) -> Task:
    """Claim exactly one task."""
    (task,) = await claim_all(backend, claimer, limit=1)
    return task


async def start_one(backend: Backend, claimer: Claimer | None = None) -> Task:
    """Claim and start exactly one task; return it as claimed."""
    task = await claim_one(backend, claimer)
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.OK]
    return task


async def get_one(backend: Backend, task_id: str) -> Task:
    """Return a task that must be there."""
    (task,) = await backend.tasks.get([task_id])
    assert task is not None, f"task {task_id} is not kept"
    return task
