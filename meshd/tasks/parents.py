"""Parents as callers name them: handles, ids, or other requests of the same call; and how such calls reach the store.

Tasks that wait for each other are kept together: where a store has partitions, the end of an id says in which. So
requests of one call that hang together get ids with the same end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from meshd.errors import InvalidArgumentError
from meshd.ids import TAIL
from meshd.tasks.model import NewTask
from meshd.tasks.request import Named, Parent, TaskRequest
from meshd.tasks.store import MAX_BATCH, MAX_WAITS

POLICIES = ("cancel", "run_anyway")


def with_parents(requests: Sequence[TaskRequest], tasks: Sequence[NewTask]) -> list[NewTask]:
    """Return the tasks made of these requests with their parents, under ids by which all that hang together is kept so.

    Raises:
        InvalidArgumentError: something else than a task is named, a request that does not come before in this call, or
            a policy that does not exist.
    """
    places: dict[int, int] = {}
    for at, request in enumerate(requests):
        places.setdefault(id(request), at)
    named = [[_named(parent, places, at) for parent in _listed(request)] for at, request in enumerate(requests)]
    ids = _ids(requests, tasks, named)
    return [
        replace(
            task,
            id=ids[at],
            depends_on=tuple(ids[parent] if isinstance(parent, int) else parent for parent in named[at]),
            runs_anyway=_policy(requests[at]) == "run_anyway",
        )
        for at, task in enumerate(tasks)
    ]


def batches(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    """Yield the tasks in the order given, as many at a time as one call to the store takes."""
    begun, waits = 0, 0
    for at, task in enumerate(tasks):
        waits += len(task.depends_on)
        if at > begun and (at - begun == MAX_BATCH or waits > MAX_WAITS):
            yield tasks[begun:at]
            begun, waits = at, len(task.depends_on)
    yield tasks[begun:]


def renamed(tasks: Sequence[NewTask], known: Mapping[str, str]) -> Sequence[NewTask]:
    """Return the tasks with parents under the ids they turned out to be known by."""
    if not known:
        return tasks
    return [
        replace(task, depends_on=tuple(dict.fromkeys(known.get(parent, parent) for parent in task.depends_on)))
        for task in tasks
    ]


def _listed(request: TaskRequest) -> Sequence[Parent]:
    if isinstance(request.depends_on, str):
        raise InvalidArgumentError(f"depends_on is a list of tasks: use [{request.depends_on!r}]")
    return request.depends_on


def _named(parent: object, places: Mapping[int, int], at: int) -> int | str:
    """Return the place of a parent in this call, or its id."""
    if isinstance(parent, TaskRequest):
        place = places.get(id(parent), at)
        if place >= at:
            raise InvalidArgumentError(f"a task waits for a request of type {parent.type} that does not come before it")
        return place
    task_id = parent if isinstance(parent, str) else getattr(cast("Named", parent), "id", None)
    if not isinstance(task_id, str) or not task_id or not task_id.isascii() or not task_id.isalnum():
        raise InvalidArgumentError(f"depends_on names {parent!r}: use handles, ids, or requests of the same call")
    return task_id


def _policy(request: TaskRequest) -> str:
    if request.on_parent_failure not in POLICIES:
        raise InvalidArgumentError(f"on_parent_failure {request.on_parent_failure!r} is not one of cancel, run_anyway")
    return request.on_parent_failure


def _ids(requests: Sequence[TaskRequest], tasks: Sequence[NewTask], named: Sequence[Sequence[int | str]]) -> list[str]:
    """Return ids that end alike for requests that hang together; the end of one with a key is fixed by its key."""
    groups = list(range(len(tasks)))

    def root(at: int) -> int:
        while groups[at] != at:
            groups[at] = at = groups[groups[at]]
        return at

    for at, parents in enumerate(named):
        for parent in parents:
            if isinstance(parent, int):
                groups[root(at)] = root(parent)
    tails: dict[int, str] = {}
    for at, parents in enumerate(named):
        fixed = [parent for parent in parents if isinstance(parent, str)]
        if requests[at].idempotency_key is not None:
            fixed.append(tasks[at].id)
        for task_id in fixed:
            tails.setdefault(root(at), task_id[-TAIL:])
    ids: list[str] = []
    for at, task in enumerate(tasks):
        tail = tails.setdefault(root(at), task.id[-TAIL:])
        is_fixed = requests[at].idempotency_key is not None or len(tail) < TAIL
        ids.append(task.id if is_fixed else task.id[:-TAIL] + tail)
    return ids
