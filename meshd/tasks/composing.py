"""Tasks that need a decision, composed of ordinary tasks that wait for each other. Pure.

    requires=Vote(…)     a vote  ←  the task
    verify=Quorum(3)     five copies of the task  ←  a tally, whose result is the agreed one
    both                 a vote  ←  five copies  ←  a tally

The caller holds the last of them, under the caller's idempotency key; the others have ids made from that key, so a
repeat after a lost answer creates nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.errors import InvalidArgumentError
from meshd.ids import part_id
from meshd.tasks.agreement import TALLY_TASK, copies_of
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


def needs_decision(request: TaskRequest) -> bool:
    """Return whether the request is more than one task."""
    return request.verify is not None or request.copies != 0 or isinstance(request.requires, Vote) or _has_vote(request)


def parts_of(requests: Sequence[TaskRequest]) -> list[Part]:
    """Return the tasks that these requests are, parents first.

    Raises:
        InvalidArgumentError: a vote or a quorum that cannot be held, or two votes for one task.
    """
    held: dict[int, TaskRequest] = {}
    parts: list[Part] = []
    for request in requests:
        found = _parts(request, held)
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


def _parts(request: TaskRequest, held: Mapping[int, TaskRequest]) -> list[Part]:
    key = request.idempotency_key
    votes, terms = _split(request)
    parts: list[Part] = []
    task = replace(request, requires=terms, verify=None, copies=0, depends_on=_parents(request, held))
    if votes:
        gate = _gate(task, votes[0])
        parts.append(Part(request=gate, name="vote", key=key))
        task = replace(task, depends_on=(gate,), on_parent_failure="cancel")
    if request.verify is None:
        if request.copies:
            raise InvalidArgumentError(
                f"copies={request.copies} says how often a task runs that has a `verify`: set it"
            )
        return [*parts, Part(request=task, key=key)]
    need, copies = copies_of(request.verify, request.copies)
    runs = [replace(task, idempotency_key=None) for _ in range(copies)]
    parts += [Part(request=run, name=f"copy {number}", key=key) for number, run in enumerate(runs)]
    return [*parts, Part(request=_tally(request, runs, need=need), key=key)]


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
