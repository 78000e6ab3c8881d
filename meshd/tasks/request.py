"""What a caller says about a task, and how it becomes what the store is asked to create."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from meshd import codec
from meshd.errors import InvalidArgumentError
from meshd.ids import check_name, new_id
from meshd.tasks.model import NewTask, Priority, TaskPolicy
from meshd.tasks.routing import requirements_of, route_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """One task as a caller describes it; `None` leaves a choice to the mesh's settings."""

    type: str
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the handler, by parameter name."""
    context: object = None
    """Travels with the task, unchanged, to whoever runs it."""
    priority: Priority | str = Priority.NORMAL
    requires: Sequence[str] = ()
    """Capabilities the node must hold, all of them."""
    preferred_types: Sequence[str] = ()
    """Node types to prefer: kept with the task; routing does not use them yet."""
    delay: timedelta | None = None
    deadline: timedelta | None = None
    """Counted from the submit; the task is never started after it."""
    timeout: timedelta | None = None
    """Longest run of one attempt."""
    max_attempts: int | None = None
    idempotency_key: str | None = None
    """The same key names the same task while that task is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefaults:
    """The mesh's choices where a request makes none."""

    policy: TaskPolicy = TaskPolicy()
    max_payload_bytes: int = 1_048_576
    created_by: str = ""


def new_task(request: TaskRequest, defaults: TaskDefaults) -> NewTask:
    """Return what the store is asked to create for `request`, under a new id.

    Raises:
        InvalidArgumentError: a name, number or duration cannot be used; the message names it.
        InvalidPayloadError: payload or context has no JSON form.
        PayloadTooLargeError: payload or context is over the limit.
    """
    check_name("task type", request.type)
    for capability in request.requires:
        check_name("capability", capability)
    limit = defaults.max_payload_bytes
    return NewTask(
        id=new_id(),
        type=request.type,
        payload=codec.encode(request.payload, what="payload", limit=limit),
        context=None if request.context is None else codec.encode(request.context, what="context", limit=limit),
        route=route_of(request.type, request.requires),
        priority=_priority(request.priority),
        preferred_types=tuple(request.preferred_types),
        delay_ms=_milliseconds("delay", request.delay) or 0,
        expires_in_ms=_milliseconds("deadline", request.deadline),
        policy=_policy(request, defaults.policy),
        idempotency_key=_key(request.idempotency_key),
        created_by=defaults.created_by,
    )


def required_capabilities(task: NewTask) -> frozenset[str]:
    """Return everything a node must hold to serve the task: its type among it."""
    task_type, capabilities = requirements_of(task.route)
    return capabilities | {task_type}


def _priority(value: Priority | str) -> Priority:
    try:
        return Priority(value)
    except ValueError:
        raise InvalidArgumentError(f"priority {value!r} is not one of {', '.join(Priority)}") from None


def _milliseconds(what: str, value: timedelta | None) -> int | None:
    if value is None:
        return None
    if value < timedelta(0) or value > timedelta(days=3650):
        raise InvalidArgumentError(f"{what} {value} is not between 0 and 3650 days")
    return value // timedelta(milliseconds=1)


def _policy(request: TaskRequest, policy: TaskPolicy) -> TaskPolicy:
    if request.max_attempts is not None:
        if not 1 <= request.max_attempts <= 1000:
            raise InvalidArgumentError(f"max_attempts {request.max_attempts} is not between 1 and 1000")
        policy = replace(policy, max_attempts=request.max_attempts)
    timeout_ms = _milliseconds("timeout", request.timeout)
    if timeout_ms is not None:
        if timeout_ms == 0:
            raise InvalidArgumentError("timeout must be over 0")
        policy = replace(policy, timeout_ms=timeout_ms)
    return policy


def _key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= 256):
        raise InvalidArgumentError(f"idempotency key of {len(key)} characters: use 1 to 256")
    return key
