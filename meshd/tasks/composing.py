"""Tasks that need a decision or have parts, composed of ordinary tasks that wait for each other. Pure.

    requires=Vote(…)     a vote  ←  the task
    verify=Quorum(3)     five copies of the task  ←  a tally, whose result is the agreed one
    fan_out=FanOut(…)    its parts  ←  a merge, whose result is theirs together
    with a vote          a vote  ←  five copies, or the parts  ←  a tally, or a merge

The caller holds the last of them, under the caller's idempotency key; the others have ids made from that key, so a
repeat after a lost answer creates nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.errors import InvalidArgumentError
from meshd.ids import part_id
from meshd.tasks.agreement import TALLY_TASK, copies_of
from meshd.tasks.fan_out import BY_TASK, MERGE_TASK, Distinct, FanOut, check_fan_out, payloads_of
from meshd.tasks.model import NewTask
from meshd.tasks.request import Parent, TaskRequest
from meshd.tasks.voting import PATIENCE, VOTE_TASK, Vote, gate_payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the tasks that a request became."""

    request: TaskRequest
    name: str = ""
    """What it is beside the one the caller holds; empty for that one."""
    key: str | None = None
    """The caller's idempotency key."""
    siblings: "Siblings | None" = None
    """Those it is placed together with."""


@dataclass(frozen=True, slots=True, eq=False)
class Siblings:
    """Parts of one task that should run on different nodes; told apart from others by what it is, not by its values."""

    distinct: str


def is_composed(request: TaskRequest) -> bool:
    """Return whether the request is more than one task."""
    return (
        request.verify is not None
        or request.copies != 0
        or request.fan_out is not None
        or isinstance(request.requires, Vote)
        or _has_vote(request)
    )


def is_open(request: TaskRequest) -> bool:
    """Return whether it is divided into as many parts as there are nodes for it.

    Raises:
        InvalidArgumentError: it is, and has an idempotency key: a repeat might be divided otherwise.
    """
    fan = request.fan_out
    if fan is None or fan.parts or fan.copies:
        return False
    if request.idempotency_key is not None:
        raise InvalidArgumentError("a fan-out with an idempotency key says how many: give `parts` or `copies`")
    return True


def bare(request: TaskRequest) -> TaskRequest:
    """Return the request as each of its copies is: without vote, parents and parts."""
    return replace(request, requires=_split(request)[1], fan_out=None, depends_on=(), idempotency_key=None)


def parts_of(
    requests: Sequence[TaskRequest], *, max_nodes: int = 5, counts: Mapping[int, int] | None = None
) -> list[Part]:
    """Return the tasks that these requests are, parents first; none is divided into more than `max_nodes` parts.

    `counts` has how many parts those have that leave it open, by the identity of the request.

    Raises:
        InvalidArgumentError: a vote or a quorum that cannot be held, two votes for one task, or parts that cannot be.
    """
    held: dict[int, TaskRequest] = {}
    parts: list[Part] = []
    for request in requests:
        found = _parts(request, held, max_nodes=max_nodes, count=(counts or {}).get(id(request), 0))
        held[id(request)] = found[-1].request
        parts += found
    return parts


def named(parts: Sequence[Part], tasks: Sequence[NewTask]) -> list[NewTask]:
    """Return the tasks made of these parts, those beside a task with an idempotency key under ids made from it."""
    ids = {
        task.id: part_id(part.key, part.name)
        for part, task in zip(parts, tasks, strict=True)
        if part.name and part.key is not None
    }
    if not ids:
        return list(tasks)
    return [
        replace(
            task,
            id=ids.get(task.id, task.id),
            depends_on=tuple(ids.get(parent, parent) for parent in task.depends_on),
        )
        for task in tasks
    ]


def _parts(request: TaskRequest, held: Mapping[int, TaskRequest], *, max_nodes: int, count: int) -> list[Part]:
    key = request.idempotency_key
    votes, terms = _split(request)
    parts: list[Part] = []
    task = replace(request, requires=terms, verify=None, copies=0, fan_out=None, depends_on=_parents(request, held))
    if votes:
        gate = _gate(task, votes[0])
        parts.append(Part(request=gate, name="vote", key=key))
        task = replace(task, depends_on=(gate,), on_parent_failure="cancel")
    if request.fan_out is not None:
        fan = replace(request.fan_out, copies=count) if count else request.fan_out
        return [*parts, *_fanned(request, task, fan, max_nodes=max_nodes)]
    if request.verify is None:
        if request.copies:
            raise InvalidArgumentError(
                f"copies={request.copies} says how often a task runs that has a `verify`: set it"
            )
        return [*parts, Part(request=task, key=key)]
    need, copies = copies_of(request.verify, request.copies)
    runs = [replace(task, idempotency_key=None) for _ in range(copies)]
    siblings = Siblings(Distinct.PREFER)
    parts += [Part(request=run, name=f"copy {n}", key=key, siblings=siblings) for n, run in enumerate(runs)]
    return [*parts, Part(request=_tally(request, runs, need=need), key=key)]


def _fanned(request: TaskRequest, task: TaskRequest, fan: FanOut, *, max_nodes: int) -> list[Part]:
    """Return the parts of a task, each a task like it, and the merge of them."""
    check_fan_out(fan)
    if request.verify is not None or request.copies:
        raise InvalidArgumentError("a task is either verified or divided into parts: fan_out takes `copies` of its own")
    if request.node is not None:
        raise InvalidArgumentError(f"node={request.node!r} is the only one that may run it: a fan-out is for several")
    key = request.idempotency_key
    siblings = None if fan.distinct == Distinct.NO else Siblings(fan.distinct)
    payloads = payloads_of(fan, request.payload, limit=max_nodes)
    runs = {name: replace(task, payload=payload, idempotency_key=None) for name, payload in payloads.items()}
    parts = [Part(request=run, name=f"part {name}", key=key, siblings=siblings) for name, run in runs.items()]
    merge = TaskRequest(
        type=MERGE_TASK,
        payload={
            "names": list(runs),
            "merge": fan.merge,
            "on_failure": str(fan.on_failure),
            "distinct": str(fan.distinct),
        },
        requires=(fan.merge.removeprefix(BY_TASK),) if fan.merge.startswith(BY_TASK) else (),
        context=request.context,
        priority=request.priority,
        deadline=request.deadline,
        idempotency_key=key,
        depends_on=tuple(runs.values()),
        on_parent_failure="run_anyway",
    )
    return [*parts, Part(request=merge, key=key)]


def _gate(task: TaskRequest, vote: Vote) -> TaskRequest:
    return TaskRequest(
        type=VOTE_TASK,
        payload=gate_payload(vote, task_type=task.type, payload=task.payload),
        priority=task.priority,
        deadline=task.deadline,
        timeout=vote.timeout + PATIENCE,
        depends_on=task.depends_on,
        on_parent_failure=task.on_parent_failure,
    )


def _tally(request: TaskRequest, runs: Sequence[TaskRequest], *, need: int) -> TaskRequest:
    return TaskRequest(
        type=TALLY_TASK,
        payload={"need": need},
        context=request.context,
        priority=request.priority,
        deadline=request.deadline,
        idempotency_key=request.idempotency_key,
        depends_on=tuple(runs),
        on_parent_failure="run_anyway",
    )


def _parents(request: TaskRequest, held: Mapping[int, TaskRequest]) -> Sequence[Parent]:
    """Return what the request waits for, requests of the same call by the task their caller holds."""
    if isinstance(request.depends_on, str):
        return request.depends_on
    return tuple(
        held.get(id(parent), parent) if isinstance(parent, TaskRequest) else parent for parent in request.depends_on
    )


def _split(request: TaskRequest) -> tuple[list[Vote], tuple[str, ...]]:
    asked = [request.requires] if isinstance(request.requires, Vote) else request.requires
    votes = [term for term in asked if isinstance(term, Vote)]
    if len(votes) > 1:
        raise InvalidArgumentError(f"a task of type {request.type} requires {len(votes)} votes: one decides")
    return votes, tuple(term for term in asked if not isinstance(term, Vote))


def _has_vote(request: TaskRequest) -> bool:
    return not isinstance(request.requires, Vote) and any(isinstance(term, Vote) for term in request.requires)
