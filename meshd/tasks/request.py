"""What a caller says about a task, and how it becomes what the store is asked to create."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol, TypedDict, cast

from meshd import codec
from meshd.errors import InvalidArgumentError
from meshd.ids import check_name, new_id
from meshd.tasks.fan_out import FanOut
from meshd.tasks.model import NewTask, Placement, Priority, TaskPolicy
from meshd.tasks.routing import preference, priority_of, requirement, route_of
from meshd.tasks.voting import Vote
from meshd.votes.model import Quorum


class Named(Protocol):
    """Anything with a task's id: a handle, a receipt's task, a task."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """One task as a caller describes it; `None` leaves a choice to the mesh's settings."""

    type: str
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the handler, by parameter name."""
    context: object = None
    """Travels with the task, unchanged, to whoever runs it."""
    priority: Priority | str = Priority.NORMAL
    requires: "Vote | Sequence[str | Vote]" = ()
    """Terms the node must meet, all of them (see `routing.py`); and a `Vote` that must be accepted before it runs."""
    preferred_types: Sequence[str] = ()
    """Node types to prefer, if such a node has a free slot."""
    prefers: Sequence[str] = ()
    """Further soft requirements, each `term` or `term:weight`."""
    node: str | None = None
    """The only node that may run it."""
    not_on: Sequence[str] = ()
    """Nodes that may not run it."""
    routing: str | None = None
    """Policy by which it finds its node (`RoutingPolicy`)."""
    delay: timedelta | None = None
    deadline: timedelta | None = None
    """Counted from the submit; the task is never started after it."""
    timeout: timedelta | None = None
    """Longest run of one attempt."""
    progress_timeout: timedelta | None = None
    """Longest time an attempt may go on without a sign of progress; zero asks for none."""
    max_attempts: int | None = None
    idempotency_key: str | None = None
    """The same key names the same task while that task is kept."""
    depends_on: "Sequence[Parent]" = ()
    """Tasks that must have completed first: handles, ids, or requests that come before in the same `submit_many`."""
    on_parent_failure: str = "cancel"
    """What becomes of it when one of them ends otherwise: `cancel`, or `run_anyway` once all have ended."""
    verify: Quorum | None = None
    """Run it several times; its result is what so many of the runs return alike. `Quorum(3)` is three of five."""
    copies: int = 0
    """How many runs `verify` compares; 0: the fewest of which its count is more than half."""
    fan_out: FanOut | None = None
    """Divide it into parts for several nodes; its result is what they make together."""


Parent = str | Named | TaskRequest


class TaskOptions(TypedDict, total=False):
    """What else a caller may say of a task that has parts; each as in `TaskRequest`."""

    context: object
    priority: Priority | str
    requires: Vote | Sequence[str | Vote]
    preferred_types: Sequence[str]
    prefers: Sequence[str]
    not_on: Sequence[str]
    routing: str | None
    delay: timedelta | None
    deadline: timedelta | None
    timeout: timedelta | None
    progress_timeout: timedelta | None
    max_attempts: int | None
    idempotency_key: str | None
    depends_on: Sequence[Parent]
    on_parent_failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefaults:
    """The mesh's choices where a request makes none."""

    policy: TaskPolicy = TaskPolicy()
    max_payload_bytes: int = 1_048_576
    created_by: str = ""
    max_nodes: int = 5
    """Most nodes that may work on the parts of one task."""


def new_task(request: TaskRequest, defaults: TaskDefaults, *, watcher: str | None = None) -> NewTask:
    """Return what the store is asked to create for `request`, under a new id; `watcher` is told of its end.

    Raises:
        InvalidArgumentError: a name, number or duration cannot be used; the message names it.
        InvalidPayloadError: payload or context has no JSON form.
        PayloadTooLargeError: payload or context is over the limit.
    """
    check_name("task type", request.type)
    limit = defaults.max_payload_bytes
    return NewTask(
        id=new_id(key=request.idempotency_key),
        type=request.type,
        payload=codec.encode(request.payload, what="payload", limit=limit),
        context=None if request.context is None else codec.encode(request.context, what="context", limit=limit),
        route=_route(request),
        priority=priority_of(request.priority),
        preferred_types=tuple(request.preferred_types),
        preferences=tuple(map(preference, request.prefers)),
        placement=None if request.node is None else _pin(request.node, request.not_on),
        delay_ms=0 if request.delay is None else _milliseconds("delay", request.delay),
        expires_in_ms=None if request.deadline is None else _milliseconds("deadline", request.deadline),
        policy=_policy(request, defaults.policy),
        idempotency_key=_key(request.idempotency_key),
        created_by=defaults.created_by,
        watcher=watcher,
    )


def _route(request: TaskRequest) -> str:
    if not request.requires and not request.not_on:
        return request.type
    terms = cast("Sequence[str]", request.requires)  # votes are tasks of their own by now: see `composing.py`
    excluded = [f"!{node_id}" for node_id in request.not_on]
    return route_of(request.type, map(requirement, [*terms, *excluded]))


def _pin(node: str, not_on: Sequence[str]) -> Placement:
    if node in not_on:
        raise InvalidArgumentError(f"node {node!r} is the only one that may run the task, and is excluded")
    return Placement(node_id=check_name("node", node), pinned=True)


def _milliseconds(what: str, value: timedelta) -> int:
    if value < timedelta(0) or value > timedelta(days=3650):
        raise InvalidArgumentError(f"{what} {value} is not between 0 and 3650 days")
    return value // timedelta(milliseconds=1)


def _policy(request: TaskRequest, policy: TaskPolicy) -> TaskPolicy:
    if request.max_attempts is None and request.timeout is None and request.progress_timeout is None:
        return policy
    if request.max_attempts is not None:
        if not 1 <= request.max_attempts <= 1000:
            raise InvalidArgumentError(f"max_attempts {request.max_attempts} is not between 1 and 1000")
        policy = replace(policy, max_attempts=request.max_attempts)
    if request.timeout is not None:
        timeout_ms = _milliseconds("timeout", request.timeout)
        if timeout_ms == 0:
            raise InvalidArgumentError("timeout must be over 0")
        policy = replace(policy, timeout_ms=timeout_ms)
    if request.progress_timeout is not None:
        policy = replace(policy, progress_timeout_ms=_milliseconds("progress_timeout", request.progress_timeout))
    return policy


def _key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= 256):
        raise InvalidArgumentError(f"idempotency key of {len(key)} characters: use 1 to 256")
    return key
