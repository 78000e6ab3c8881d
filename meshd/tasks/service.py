"""The task service: what callers do with tasks. It encodes, checks and waits; the store decides."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Unpack

from meshd import codec
from meshd.errors import DeadlineError, InvalidArgumentError, TaskNotCompletedError
from meshd.tasks.admission import Admission
from meshd.tasks.composing import Part, is_composed, named, parts_of
from meshd.tasks.dividing import Divider
from meshd.tasks.explain import Explanation
from meshd.tasks.fan_out import Distinct, FanOut, OnFailure, PartView
from meshd.tasks.model import (
    Durability,
    NewTask,
    Priority,
    Receipt,
    Task,
    TaskState,
)
from meshd.tasks.parents import batches, renamed, with_parents
from meshd.tasks.placement import LookAtNearness, LookAtNodes, PlacementSettings, Placer
from meshd.tasks.reading import TaskReading
from meshd.tasks.request import Parent, TaskDefaults, TaskOptions, TaskRequest, new_task
from meshd.tasks.steering import CallNode
from meshd.tasks.store import MAX_BATCH, TaskStore
from meshd.tasks.voting import Vote
from meshd.tasks.waiting import End, EndWatcher
from meshd.votes.model import Quorum


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
        return await self._service.result(self.id, timeout=timeout)

    async def cancel(self, reason: str = "") -> Task:
        """Cancel the task, or ask its handler to stop. See `TaskService.cancel`."""
        return await self._service.cancel(self.id, reason=reason)

    async def explain(self) -> Explanation:
        """Return where the task is and why. See `TaskService.explain`."""
        return await self._service.explain(self.id)

    async def parts(self) -> tuple[PartView, ...]:
        """Return the parts of a task that was fanned out. See `TaskService.parts`."""
        return await self._service.parts(self.id)


class TaskService(TaskReading):
    """Submit, follow and steer tasks."""

    def __init__(  # noqa: PLR0913 -- each is one part it stands on, all by keyword
        self,
        store: TaskStore,
        *,
        admission: Admission,
        watcher: EndWatcher,
        defaults: TaskDefaults,
        look_at_nodes: LookAtNodes,
        call_node: CallNode,
        placement: PlacementSettings | None = None,
        nearness: LookAtNearness | None = None,
    ) -> None:
        placing = placement or PlacementSettings()
        super().__init__(store, call_node=call_node, look_at_nodes=look_at_nodes, doubt_ms=placing.doubt_ms)
        self._admission = admission
        self._watcher = watcher
        self._defaults = defaults
        self._placer = Placer(look_at_nodes, placing, nearness=nearness)
        self._divider = Divider(self._placer, defaults)

    async def submit(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        priority: Priority | str = Priority.NORMAL,
        requires: Vote | Sequence[str | Vote] = (),
        preferred_types: Sequence[str] = (),
        prefers: Sequence[str] = (),
        node: str | None = None,
        not_on: Sequence[str] = (),
        routing: str | None = None,
        context: object = None,
        delay: timedelta | None = None,
        deadline: timedelta | None = None,
        timeout: timedelta | None = None,
        progress_timeout: timedelta | None = None,
        max_attempts: int | None = None,
        idempotency_key: str | None = None,
        depends_on: Sequence[Parent] = (),
        on_parent_failure: str = "cancel",
        verify: Quorum | None = None,
        copies: int = 0,
        fan_out: FanOut | None = None,
        unserved: str = "wait",
        durability: Durability | None = None,
        **arguments: Any,
    ) -> TaskHandle:
        """Submit one task: when this returns, it is kept at the durability its receipt states. Raises as `submit_many`.

        `payload` and further keyword `arguments` together are the handler's arguments; `TaskRequest` tells of the rest.
        With `unserved="refuse"` the task is refused when no live node could run it; by default it waits for one. With
        `durability`, the receipt is given at this level or above.
        """
        request = TaskRequest(
            type=type, payload=_together(payload or {}, arguments), context=context, priority=priority,
            requires=requires, preferred_types=preferred_types, prefers=prefers, node=node, not_on=not_on,
            routing=routing, delay=delay, deadline=deadline, timeout=timeout, progress_timeout=progress_timeout,
            max_attempts=max_attempts, idempotency_key=idempotency_key, depends_on=depends_on,
            on_parent_failure=on_parent_failure, verify=verify, copies=copies, fan_out=fan_out,
        )  # fmt: skip
        return await self._submit_watched(request, unserved=unserved, durability=durability)

    async def fan_out(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        parts: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] = (),
        copies: int = 0,
        merge: str = "list",
        distinct: str = Distinct.PREFER,
        on_failure: str = OnFailure.FAIL,
        max_nodes: int = 0,
        unserved: str = "refuse",
        durability: Durability | None = None,
        **options: Unpack[TaskOptions],
    ) -> TaskHandle:
        """Divide one task over several nodes; the handle's result is what its parts make together. See `FanOut`.

        Without `parts` and `copies` it runs on as many nodes as can run it now, at most `max_nodes`. When this returns,
        all parts and the merge of them are kept, as by `submit_many`; none is lost with a node that dies.

        Raises:
            NoCandidateError: no live node could run the parts; with `distinct="require"`, too few could.
            InvalidArgumentError: there are more parts than nodes may work on one task; else as `submit_many`.
        """
        fan = FanOut(
            parts=parts, copies=copies, merge=merge, distinct=distinct, on_failure=on_failure, max_nodes=max_nodes
        )
        request = TaskRequest(type=type, payload=payload or {}, fan_out=fan, **options)
        return await self._submit_watched(request, unserved=unserved, durability=durability)

    async def submit_many(
        self, requests: Iterable[TaskRequest], *, unserved: str = "wait", durability: Durability | None = None
    ) -> list[TaskHandle]:
        """Submit tasks in batches of `MAX_BATCH`; all are checked before the first is sent.

        Raises:
            InvalidArgumentError: one of them cannot be used; nothing was submitted.
            ParentsApartError: a task cannot be kept with those it waits for; the batches before it are submitted.
            UnknownParentError: one would wait for a task that is not kept; the batches before it are submitted.
            NoCandidateError: `unserved="refuse"` and no live node could run one of them; nothing was submitted.
            BackpressureError: the queue had no room for a batch, also after `queue_wait_seconds`; the batches before it
                are submitted.
            UnavailableError: the store did not confirm; submit again with idempotency keys to be safe.
        """
        return await self._submit_all(list(requests), unserved=unserved, durability=durability, watcher=None)

    async def _submit_watched(
        self, request: TaskRequest, *, unserved: str, durability: Durability | None
    ) -> TaskHandle:
        """Submit one task that tells this client of its end from the start, if anybody here waits for tasks at all."""
        topic = self._watcher.topic
        if unserved != "wait" or request.depends_on or is_composed(request) or self._placer.concerns_one(request):
            (handle,) = await self._submit_all([request], unserved=unserved, durability=durability, watcher=topic)
        else:
            task = new_task(request, self._defaults, watcher=topic)
            (receipt,) = await self._admission.submit((task,), durability=durability)
            handle = TaskHandle(self, receipt.task_id, receipt)
        given = handle.receipt
        if topic is not None and given is not None and given.created and not given.state.is_terminal:
            self._watcher.submitted(handle.id)
        return handle

    async def _submit_all(
        self, requests: Sequence[TaskRequest], *, unserved: str, durability: Durability | None, watcher: str | None
    ) -> list[TaskHandle]:
        """Submit the tasks that the requests are, and return the handles their callers hold."""
        if any(map(is_composed, requests)):
            counts = await self._divider.counts(requests)
            parts = parts_of(requests, max_nodes=self._defaults.max_nodes, counts=counts)
        else:
            parts = [Part(request=request) for request in requests]
        handles = await self._submit(parts, unserved=unserved, durability=durability, watcher=watcher)
        return [handle for part, handle in zip(parts, handles, strict=True) if not part.name]

    async def _submit(
        self, parts: Sequence[Part], *, unserved: str, durability: Durability | None, watcher: str | None
    ) -> list[TaskHandle]:
        requests = [part.request for part in parts]
        tasks = [new_task(part.request, self._defaults, watcher=None if part.name else watcher) for part in parts]
        has_parents = any(request.depends_on for request in requests)
        if has_parents:
            tasks = named(parts, with_parents(requests, tasks))
        if unserved == "refuse":
            await self._placer.check_served(tasks)
        elif unserved != "wait":
            raise InvalidArgumentError(f"unserved {unserved!r} is not one of wait, refuse")
        tasks = await self._divider.spread(parts, tasks, must_fit=unserved == "refuse")
        if self._placer.concerns(requests):
            tasks = await self._placer.place(requests, tasks)
        if has_parents:
            return await self._submit_family(tasks, durability=durability)
        receipts: list[Receipt] = []
        for start in range(0, len(tasks), MAX_BATCH):
            receipts.extend(await self._admission.submit(tasks[start : start + MAX_BATCH], durability=durability))
        return [TaskHandle(self, receipt.task_id, receipt) for receipt in receipts]

    async def _submit_family(self, tasks: Sequence[NewTask], *, durability: Durability | None) -> list[TaskHandle]:
        """Submit tasks of which some wait for others among them."""
        known: dict[str, str] = {}
        handles: list[TaskHandle] = []
        for batch in batches(tasks):
            receipts = await self._admission.submit(renamed(batch, known), durability=durability)
            known |= {
                task.id: receipt.task_id
                for task, receipt in zip(batch, receipts, strict=True)
                if task.id != receipt.task_id
            }
            handles += [TaskHandle(self, receipt.task_id, receipt) for receipt in receipts]
        return handles

    def handle(self, task_id: str) -> TaskHandle:
        """Return a handle on a task submitted anywhere."""
        return TaskHandle(self, task_id)

    async def ended(self, task_id: str, *, timeout: timedelta | None = None) -> Task:
        """Return the task once it has ended, however it ended.

        Raises:
            DeadlineError: it had not ended within `timeout`; it goes on.
            NotFoundError: it is not kept (any more).
        """
        end = await self._end(task_id, timeout=timeout, is_whole=True)
        return end.task or await self.get(task_id)

    async def result(self, task_id: str, *, timeout: timedelta | None = None) -> Any:
        """Return what the handler returned, as plain JSON types, once the task has completed.

        Raises:
            TaskNotCompletedError: it ended dead, cancelled or expired.
            DeadlineError: it had not ended within `timeout`; it goes on.
            NotFoundError: it is not kept (any more).
        """
        end = await self._end(task_id, timeout=timeout, is_whole=False)
        if end.state is TaskState.COMPLETED and end.result is not None:
            return codec.decode(end.result)
        return result_of(end.task or await self.get(task_id))

    async def _end(self, task_id: str, *, timeout: timedelta | None, is_whole: bool) -> End:
        seconds = _seconds(timeout)
        future = (await self._watcher.expect([task_id], is_whole=is_whole))[task_id]
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
        futures = await self._watcher.expect((handle.id for handle in handles), is_whole=True)
        try:
            for ended in asyncio.as_completed(list(futures.values()), timeout=seconds):
                if (task := (await ended).task) is not None:
                    yield task
        except TimeoutError:
            waiting = [task_id for task_id, future in futures.items() if not future.done()]
            raise DeadlineError(f"{len(waiting)} tasks had not ended after {seconds:g} s; they go on") from None
        finally:
            for future in futures.values():
                future.cancel()


def _together(payload: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    if payload and arguments and (clash := payload.keys() & arguments.keys()):
        raise InvalidArgumentError(f"argument {min(clash)!r} is given twice: in the payload and by keyword")
    return {**payload, **arguments}


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
