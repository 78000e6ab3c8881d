"""Steering tasks that exist: what operators do with them, one by one, by type, or all at once."""

from collections.abc import Awaitable, Callable, Mapping

from meshd.ids import check_name
from meshd.tasks.audit import AuditReport, Finding
from meshd.tasks.dead import DeadLetters
from meshd.tasks.model import Pauses, Priority, SweepReport, Task, TaskState
from meshd.tasks.routing import priority_of
from meshd.tasks.store import TaskStore

CallNode = Callable[[str], Awaitable[None]]
"""Tells a node to look at its tasks now."""


class TaskSteering:
    """Cancel, redrive, reorder, hold back, audit."""

    def __init__(self, store: TaskStore, *, call_node: CallNode) -> None:
        self._store = store
        self._call_node = call_node
        self.dead = DeadLetters(store)
        """The dead letters, in bulk."""

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

    async def reprioritize(self, task_id: str, priority: Priority | str) -> Task:
        """Give a task that has not ended another priority; it keeps its age. Returns it as it now is.

        Raises:
            InvalidArgumentError: there is no such priority.
            NotFoundError: it is not kept (any more).
            InvalidTransitionError: it ended before.
        """
        return await self._store.reprioritize(task_id, priority_of(priority))

    async def pause(self, task_type: str | None = None) -> None:
        """Hand out no task of this type any more, or none at all; running tasks go on. Idempotent.

        A node is paused by `NodeService.drain`.

        Raises:
            InvalidArgumentError: it cannot be the name of a task type.
        """
        await self._store.pause(None if task_type is None else check_name("task type", task_type))

    async def resume(self, task_type: str | None = None) -> None:
        """Undo `pause` of the same argument. Idempotent."""
        await self._store.resume(None if task_type is None else check_name("task type", task_type))

    async def paused(self) -> Pauses:
        """Return what is held back now."""
        return await self._store.paused()

    async def counts(self) -> Mapping[TaskState, int]:
        """Return how many tasks are in each state, mesh-wide."""
        return await self._store.counts()

    async def sweep(self) -> SweepReport:
        """Do now what time has made due; nodes do it all the time."""
        return await self._store.sweep()

    async def audit(self, *, repair: bool = False) -> AuditReport:
        """Check every kept task against the invariants, beside a mesh at work; with `repair`, mend the indexes."""
        checked = 0
        findings: list[Finding] = []
        cursor: str | None = None
        while True:
            page = await self._store.audit(repair=repair, cursor=cursor)
            checked += page.checked
            findings += page.findings
            cursor = page.cursor
            if cursor is None:
                return AuditReport(checked=checked, findings=tuple(findings))
