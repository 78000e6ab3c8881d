"""Reading tasks: one, many, the parts of one; where it is and why, and why not elsewhere."""

from collections.abc import Collection

from meshd import codec
from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.tasks.explain import Explanation, ParentView, WhyNot, explanation_of, parents_shown, why_not
from meshd.tasks.fan_out import MERGE_TASK, PartView, part_views
from meshd.tasks.model import Task, TaskFilter, TaskPage, TaskState
from meshd.tasks.placement import LookAtNodes
from meshd.tasks.steering import CallNode, TaskSteering
from meshd.tasks.store import TaskStore


class TaskReading(TaskSteering):
    """Look at tasks, and steer them."""

    def __init__(self, store: TaskStore, *, call_node: CallNode, look_at_nodes: LookAtNodes, doubt_ms: int) -> None:
        super().__init__(store, call_node=call_node)
        self._look = look_at_nodes
        self._doubt_ms = doubt_ms

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

    async def explain(self, task_id: str) -> Explanation:
        """Return where the task is and why: what placed it, what each node lacks for it now, what would help.

        Raises:
            NotFoundError: it is not kept (any more).
        """
        task = await self.get(task_id)
        nodes = await self._look(include_dead=True)
        pauses = await self._store.paused()
        parents = await self.parents(task)
        return explanation_of(task, nodes=nodes, pauses=pauses, doubt_ms=self._doubt_ms, parents=parents)

    async def parents(self, task: Task) -> tuple[ParentView, ...]:
        """Return up to `SHOWN_PARENTS` of the tasks it depends on as they are now, those it waits for first."""
        shown = parents_shown(task)
        found = await self._store.get(shown)
        return tuple(
            ParentView(task_id=task_id, task=parent, is_waited_for=task_id in task.waits_for)
            for task_id, parent in zip(shown, found, strict=True)
        )

    async def parts(self, task_id: str) -> tuple[PartView, ...]:
        """Return the parts of a task that was fanned out, as they are now: node, agents, and result or error of each.

        Raises:
            NotFoundError: the task is not kept (any more).
            InvalidArgumentError: it has no parts.
        """
        task = await self.get(task_id)
        if task.type != MERGE_TASK:
            raise InvalidArgumentError(f"task {task_id} of type {task.type} has no parts: it was not fanned out")
        found = await self._store.get(task.depends_on)
        nodes = await self._look(include_dead=True)
        return part_views(codec.decode(task.payload)["names"], task.depends_on, found, nodes)

    async def why_not(self, task_id: str, node_id: str) -> WhyNot:
        """Return why this node does not have the task.

        Raises:
            NotFoundError: the task is not kept (any more), or the mesh knows no such node.
        """
        return why_not(await self.explain(task_id), node_id)
