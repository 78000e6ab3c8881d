"""SyncMesh: the same mesh for code without an event loop. A thin facade; it holds no logic of its own.

Each call runs on one background event loop and costs about 0.2 ms more than the async call: fine for scripts, not for
hot loops.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from meshd.memory.requesting import Progress
from meshd.memory.syncing import SyncReport
from meshd.mesh import Mesh
from meshd.settings import Settings
from meshd.sync_memory import SyncMemory
from meshd.sync_messages import SyncMessages
from meshd.sync_topology import SyncTopology
from meshd.sync_votes import SyncVotes
from meshd.tasks.dead import DeadLetters
from meshd.tasks.model import Durability, Receipt, Task
from meshd.tasks.rates import CompletionRate
from meshd.tasks.request import TaskRequest
from meshd.tasks.service import TaskHandle, TaskService
from meshd.upkeep import UpkeepReport

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from meshd.sync_groups import SyncGroups


class _Portal:
    """One event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="meshd-sync", daemon=True)
        self._thread.start()

    def call(self, awaitable: Awaitable[R]) -> R:
        async def run() -> R:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result()

    def wrap(self, method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return self.call(method(*args, **kwargs))

        call.__doc__ = method.__doc__
        return call

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class SyncTaskHandle:
    """One task; see `TaskHandle`."""

    def __init__(self, portal: _Portal, handle: TaskHandle) -> None:
        self.id: str = handle.id
        self.receipt: Receipt | None = handle.receipt
        self.handle = handle
        self.status = portal.wrap(handle.status)
        self.wait = portal.wrap(handle.wait)
        self.result = portal.wrap(handle.result)
        self.cancel = portal.wrap(handle.cancel)
        self.explain = portal.wrap(handle.explain)
        self.parts = portal.wrap(handle.parts)

    def __repr__(self) -> str:
        return f"SyncTaskHandle({self.id!r})"


class SyncTasks:
    """Tasks; see `TaskService`."""

    def __init__(self, portal: _Portal, tasks: TaskService) -> None:
        self._portal = portal
        self._tasks = tasks
        self.submit = self._wrap_submit(tasks.submit)
        self.fan_out = self._wrap_submit(tasks.fan_out)
        self.get = portal.wrap(tasks.get)
        self.list = portal.wrap(tasks.list)
        self.ended = portal.wrap(tasks.ended)
        self.result = portal.wrap(tasks.result)
        self.cancel = portal.wrap(tasks.cancel)
        self.redrive = portal.wrap(tasks.redrive)
        self.explain = portal.wrap(tasks.explain)
        self.parents = portal.wrap(tasks.parents)
        self.why_not = portal.wrap(tasks.why_not)
        self.parts = portal.wrap(tasks.parts)
        self.counts = portal.wrap(tasks.counts)
        self.sweep = portal.wrap(tasks.sweep)
        self.reprioritize = portal.wrap(tasks.reprioritize)
        self.pause = portal.wrap(tasks.pause)
        self.resume = portal.wrap(tasks.resume)
        self.paused = portal.wrap(tasks.paused)
        self.audit = portal.wrap(tasks.audit)
        self.dead = SyncDeadLetters(portal, tasks.dead)

    def submit_many(
        self, requests: Iterable[TaskRequest], *, unserved: str = "wait", durability: Durability | None = None
    ) -> "list[SyncTaskHandle]":
        """Submit tasks in batches; see `TaskService.submit_many`."""
        handles = self._portal.call(self._tasks.submit_many(requests, unserved=unserved, durability=durability))
        return [SyncTaskHandle(self._portal, handle) for handle in handles]

    def handle(self, task_id: str) -> SyncTaskHandle:
        """Return a handle on a task submitted anywhere."""
        return SyncTaskHandle(self._portal, self._tasks.handle(task_id))

    def as_ended(self, handles: Iterable[SyncTaskHandle], *, timeout: timedelta | None = None) -> Iterator[Task]:
        """Yield each task as it ends; see `TaskService.as_ended`."""
        ended = self._tasks.as_ended([handle.handle for handle in handles], timeout=timeout)
        try:
            while True:
                try:
                    task = self._portal.call(anext(ended))
                except StopAsyncIteration:
                    return
                yield task
        finally:
            self._portal.call(ended.aclose())

    def _wrap_submit(self, submit: Callable[P, Coroutine[Any, Any, TaskHandle]]) -> Callable[P, SyncTaskHandle]:
        def call(*args: P.args, **kwargs: P.kwargs) -> SyncTaskHandle:
            return SyncTaskHandle(self._portal, self._portal.call(submit(*args, **kwargs)))

        call.__doc__ = submit.__doc__
        return call


class SyncDeadLetters:
    """Dead letters; see `DeadLetters`."""

    def __init__(self, portal: _Portal, dead: DeadLetters) -> None:
        self.list = portal.wrap(dead.list)
        self.redrive = portal.wrap(dead.redrive)
        self.purge = portal.wrap(dead.purge)


class SyncNodes:
    """Nodes; see `NodeService`."""

    def __init__(self, portal: _Portal, mesh: Mesh) -> None:
        self.list = portal.wrap(mesh.nodes.list)
        self.get = portal.wrap(mesh.nodes.get)
        self.holders = portal.wrap(mesh.nodes.holders)
        self.evidence = portal.wrap(mesh.nodes.evidence)
        self.connectivity = portal.wrap(mesh.nodes.connectivity)
        self.partitions = portal.wrap(mesh.nodes.partitions)
        self.history = portal.wrap(mesh.nodes.history)
        self.splits = portal.wrap(mesh.nodes.splits)
        self.uptimes = portal.wrap(mesh.nodes.uptimes)
        self.drain = portal.wrap(mesh.nodes.drain)
        self.resume = portal.wrap(mesh.nodes.resume)


class SyncMesh:
    """One mesh, seen from a process without an event loop.

    with SyncMesh("redis://localhost") as mesh:
        print(mesh.tasks.submit("text.analyze", text="…").result())
    """

    tasks: SyncTasks
    nodes: SyncNodes
    memory: SyncMemory
    messages: SyncMessages
    votes: SyncVotes
    topology: SyncTopology

    def __init__(self, url: str | None = None, *, mesh: str | None = None, settings: Settings | None = None) -> None:
        self._mesh = Mesh(url, mesh=mesh, settings=settings)
        self._portal: _Portal | None = None
        self._groups: SyncGroups | None = None

    @property
    def url(self) -> str:
        """Where the store is, password hidden."""
        return self._mesh.url

    @property
    def name(self) -> str:
        """The mesh's name."""
        return self._mesh.name

    @property
    def groups(self) -> "SyncGroups":
        """Agents that team up, made for whoever asks first."""
        if self._groups is None:
            from meshd.sync_groups import SyncGroups  # noqa: PLC0415 -- for those who team up

            self._groups = SyncGroups(self._open_portal(), self._mesh.groups)
        return self._groups

    def open(self) -> Self:
        """Connect to the store; see `Mesh.open`. Idempotent."""
        self._open_portal()
        return self

    def close(self) -> None:
        """Close the connection. Idempotent."""
        portal, self._portal = self._portal, None
        self._groups = None
        if portal is not None:
            portal.call(self._mesh.aclose())
            portal.close()

    def sweep(self) -> UpkeepReport:
        """Run one round of upkeep now; see `Mesh.sweep`."""
        return self._open_portal().call(self._mesh.sweep())

    def sync(self, *, timeout: timedelta = timedelta(seconds=30), progress: Progress | None = None) -> SyncReport:
        """Have every live replica compare itself with the store; see `Mesh.sync`."""
        return self._open_portal().call(self._mesh.sync(timeout=timeout, progress=progress))

    def completion_rate(self, window: timedelta = timedelta(hours=1)) -> CompletionRate:
        """Return how tasks ended in the last `window`; see `Mesh.completion_rate`."""
        return self._open_portal().call(self._mesh.completion_rate(window))

    def inner(self) -> tuple[Mesh, asyncio.AbstractEventLoop]:
        """Return the mesh this is a facade of, and the loop it lives on."""
        return self._mesh, self._open_portal().loop

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_portal(self) -> _Portal:
        if self._portal is None:
            portal = _Portal()
            try:
                portal.call(self._mesh.open())
            except BaseException:
                portal.close()
                raise
            self._portal = portal
            self.tasks = SyncTasks(portal, self._mesh.tasks)
            self.nodes = SyncNodes(portal, self._mesh)
            self.memory = SyncMemory(portal, self._mesh.memory)
            self.messages = SyncMessages(portal, self._mesh.messages)
            self.votes = SyncVotes(portal, self._mesh.votes)
            self.topology = SyncTopology(portal, self._mesh.topology)
        return self._portal
