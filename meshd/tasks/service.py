"""The task service: what callers do with tasks. It encodes, checks and waits; the store decides."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from meshd import codec
from meshd.errors import DeadlineError, InvalidArgumentError, NoCandidateError, NotFoundError, TaskNotCompletedError
from meshd.tasks.model import (
    NewTask,
    Priority,
    Receipt,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
)
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task, required_capabilities
from meshd.tasks.store import MAX_BATCH, TaskStore
from meshd.tasks.waiting import EndWatcher

HasHolder = Callable[[frozenset[str]], Awaitable[bool]]
"""Whether some live node holds all of these capabilities."""

CallNode = Callable[[str], Awaitable[None]]
"""Tells a node to look at its tasks now."""


class TaskHandle:
    """One task, from any process that knows its id."""

    def __init__(self, service: "TaskService", task_id: str, receipt: Receipt | None = None) -> None:
        self._service = service
        self.id = task_id
        self.receipt = receipt
        """The store's answer to the submit; `None` for a handle made from an id."""

    def __repr__(self) -> str:
        return f"TaskHandle({self.id!r})"

    async def status(self) -> Task:
        """Return the task as it is now.

        Raises:
            NotFoundError: it is not kept (any more).
        """
        return await self._service.get(self.id)

    async def wait(self, *, timeout: timedelta | None = None) -> Task:
        """Return the task once it has ended, however it ended.

        Raises:
            DeadlineError: it had not ended within `timeout`; it goes on.
            NotFoundError: it is not kept (any more).
        """
        return await self._service.ended(self.id, timeout=timeout)

    async def result(self, *, timeout: timedelta | None = None) -> Any:
        """Return what the handler returned, as plain JSON types, once the task has completed.

        Raises:
            TaskNotCompletedError: it ended dead, cancelled or expired.
            DeadlineError: it had not ended within `timeout`; it goes on.
            NotFoundError: it is not kept (any more).
        """
        return result_of(await self.wait(timeout=timeout))

    async def cancel(self, reason: str = "") -> Task:
        """Cancel the task, or ask its handler to stop. See `TaskService.cancel`."""
        return await self._service.cancel(self.id, reason=reason)


class TaskService:
    """Submit, follow, cancel and redrive tasks."""

    def __init__(
        self,
        store: TaskStore,
        *,
        watcher: EndWatcher,
        defaults: TaskDefaults,
        has_holder: HasHolder,
        call_node: CallNode,
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._defaults = defaults
        self._has_holder = has_holder
        self._call_node = call_node

    async def submit(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        priority: Priority | str = Priority.NORMAL,
        requires: Sequence[str] = (),
        preferred_types: Sequence[str] = (),
        context: object = None,
        delay: timedelta | None = None,
        deadline: timedelta | None = None,
        timeout: timedelta | None = None,
        max_attempts: int | None = None,
        idempotency_key: str | None = None,
        unserved: str = "wait",
        **arguments: Any,
    ) -> TaskHandle:
        """Submit one task: when this returns, the task is kept at the durability its receipt states.

        `payload` and further keyword `arguments` together are the handler's arguments. With `unserved="refuse"` the
        task is refused when no live node could run it; by default it waits for one.

        Raises:
            InvalidArgumentError: an argument cannot be used; nothing was submitted.
            NoCandidateError: `unserved="refuse"` and no live node holds what the task requires.
            UnavailableError: the store did not confirm; submit again with an idempotency key to be safe.
        """
        clash = set(arguments) & set(payload or {})
        if clash:
            raise InvalidArgumentError(f"argument {min(clash)!r} is given twice: in the payload and by keyword")
        request = TaskRequest(
            type=type,
            payload={**(payload or {}), **arguments},
            context=context,
            priority=priority,
            requires=requires,
            preferred_types=preferred_types,
            delay=delay,
            deadline=deadline,
            timeout=timeout,
            max_attempts=max_attempts,
            idempotency_key=idempotency_key,
        )
        return (await self.submit_many([request], unserved=unserved))[0]

    async def submit_many(self, requests: Iterable[TaskRequest], *, unserved: str = "wait") -> list[TaskHandle]:
        """Submit tasks in batches of `MAX_BATCH`; all are checked before the first is sent.

        Raises:
            InvalidArgumentError: one of them cannot be used; nothing was submitted.
            NoCandidateError: `unserved="refuse"` and no live node could run one of them; nothing was submitted.
        """
        tasks = [new_task(request, self._defaults) for request in requests]
        await self._check_served(tasks, unserved)
        receipts: list[Receipt] = []
        for start in range(0, len(tasks), MAX_BATCH):
            receipts.extend(await self._store.submit(tasks[start : start + MAX_BATCH]))
        return [TaskHandle(self, receipt.task_id, receipt) for receipt in receipts]

    def handle(self, task_id: str) -> TaskHandle:
        """Return a handle on a task submitted anywhere."""
        return TaskHandle(self, task_id)

    async def get(self, task_id: str) -> Task:
        """Return the task as it is now.

        Raises:
            NotFoundError: it is not kept (any more).
        """
        task = (await self._store.get([task_id]))[0]
        if task is None:
            raise NotFoundError(f"task {task_id} is not kept (any more); `mesh tasks list` shows those that are")
        return task

    async def list(
        self,
        *,
        states: Collection[TaskState] = (),
        type: str = "",
        node_id: str = "",
        limit: int = 50,
        cursor: str | None = None,
    ) -> TaskPage:
        """Return up to `limit` tasks, newest first."""
        return await self._store.list(
            TaskFilter(states=frozenset(states), type=type, node_id=node_id), limit=limit, cursor=cursor
        )

    async def ended(self, task_id: str, *, timeout: timedelta | None = None) -> Task:
        """Return the task once it has ended, however it ended.

        Raises:
            DeadlineError: it had not ended within `timeout`; it goes on.
            NotFoundError: it is not kept (any more).
        """
        seconds = _seconds(timeout)
        future = (await self._watcher.expect([task_id]))[task_id]
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise DeadlineError(f"task {task_id} had not ended after {seconds:g} s; it goes on") from None

    async def as_ended(
        self, handles: Iterable[TaskHandle], *, timeout: timedelta | None = None
    ) -> AsyncGenerator[Task, None]:
        """Yield each task as it ends, in the order they end.

        Raises:
            DeadlineError: not all ended within `timeout`; those go on.
            NotFoundError: one is not kept (any more).
        """
        seconds = _seconds(timeout)
        futures = await self._watcher.expect(handle.id for handle in handles)
        try:
            for ended in asyncio.as_completed(list(futures.values()), timeout=seconds):
                yield await ended
        except TimeoutError:
            waiting = [task_id for task_id, future in futures.items() if not future.done()]
            raise DeadlineError(f"{len(waiting)} tasks had not ended after {seconds:g} s; they go on") from None
        finally:
            for future in futures.values():
                future.cancel()

    async def cancel(self, task_id: str, *, reason: str = "") -> Task:
        """Cancel a task that has not started, ask a running one to stop; return it as it now is.

        Raises:
            NotFoundError: it is not kept (any more).
            InvalidTransitionError: it ended before.
        """
        task = await self._store.cancel(task_id, reason=reason)
        if task.cancel_requested and task.node_id is not None and not task.state.is_terminal:
            await self._call_node(task.node_id)
        return task

    async def redrive(self, task_id: str) -> Task:
        """Give a dead, cancelled or expired task a new life, with its errors kept.

        Raises:
            NotFoundError: it is not kept (any more).
            InvalidTransitionError: it is in none of those states.
        """
        return await self._store.redrive(task_id)

    async def counts(self) -> Mapping[TaskState, int]:
        """Return how many tasks are in each state, mesh-wide."""
        return await self._store.counts()

    async def sweep(self) -> SweepReport:
        """Do now what time has made due; nodes do it all the time."""
        return await self._store.sweep()

    async def _check_served(self, tasks: Sequence[NewTask], unserved: str) -> None:
        if unserved not in ("wait", "refuse"):
            raise InvalidArgumentError(f"unserved {unserved!r} is not one of wait, refuse")
        if unserved == "wait":
            return
        for capabilities in {required_capabilities(task) for task in tasks}:
            if not await self._has_holder(capabilities):
                raise NoCandidateError(f"no live node holds {', '.join(sorted(capabilities))}")


def _seconds(timeout: timedelta | None) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"timeout {timeout!r} is not a timedelta: use timedelta(seconds={timeout!r})")
    return timeout.total_seconds()


def result_of(task: Task) -> Any:
    """Return the result of an ended task, as plain JSON types.

    Raises:
        TaskNotCompletedError: it ended dead, cancelled or expired.
    """
    if task.state is not TaskState.COMPLETED or task.result is None:
        is_dead = task.state is TaskState.DEAD and task.errors
        reason = task.errors[-1].message if is_dead else task.reason
        raise TaskNotCompletedError(task.id, state=task.state, reason=reason or "no reason was given")
    return codec.decode(task.result)
