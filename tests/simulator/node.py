"""A simulated node: the real worker over a store that may be late, away or forgetful, and a pulse that renews."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar, cast

from meshd.errors import UnavailableError
from meshd.runtime.context import TaskContext
from meshd.runtime.execution import StopCause
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.holds import Holds
from meshd.runtime.signals import Retry
from meshd.runtime.vitals import Tally
from meshd.runtime.worker import Worker, WorkerSettings
from meshd.tasks.model import Claimed, Claimer, Ending, Hold, Outcome, TaskState, TaskTimings, Wake
from meshd.tasks.store import TaskStore
from tests.simulator.faults import Weather
from tests.simulator.store import PureStore, Trace

T = TypeVar("T")

TIMINGS = TaskTimings(lease_ms=3_000, renew_ms=1_000, sweep_ms=500, poll_ms=500)
CAPACITY = 3
TYPES = frozenset({"short", "long", "flaky", "killer"})


@dataclass(slots=True, kw_only=True)
class Effects:
    """What handlers did, as an outside world would see it."""

    finished: dict[str, set[int]] = field(default_factory=dict)
    """Task id to the tokens under which its handler came to its end."""
    kills: dict[str, int] = field(default_factory=dict)
    hurt: dict[str, int] = field(default_factory=dict)
    """How often a task was running beside another that killed their node."""
    together: list[str] = field(default_factory=list)
    """Suspects that did not run alone."""
    crowds: list[str] = field(default_factory=list)
    """Nodes seen over their capacity."""
    early: list[str] = field(default_factory=list)
    """Tasks that began before a parent had ended as they need it to."""


class Link:
    """A node's way to the store: the part of `TaskStore` that a worker uses."""

    starts_ahead = False

    def __init__(self, node: "SimNode", store: PureStore, weather: Weather) -> None:
        self._node = node
        self._store = store
        self._weather = weather

    async def _call(self, call: Callable[[], T]) -> T:
        return await self._weather.carry(call, stalled=self._node.stalled)

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int, alone: bool = False) -> Claimed:
        return await self._call(lambda: self._store.claim(claimer, limit=limit, lease_ms=lease_ms, alone=alone))

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> Wake:
        await self._node.stalled()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._node.bell.wait()
        self._node.bell.clear()
        await self._node.stalled()
        return Wake()

    async def start(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        return await self._call(lambda: self._store.start(holds))

    async def finish(self, endings: Sequence[Ending]) -> Sequence[Outcome]:
        outcomes = await self._call(lambda: self._store.finish(endings))
        await self._call(self._store.settle)
        return outcomes

    async def renew(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        return await self._call(lambda: self._store.renew(holds, lease_ms=TIMINGS.lease_ms))

    async def reconcile(self, claimer: Claimer, *, known: Sequence[Hold]) -> int:
        return await self._call(lambda: self._store.reconcile(claimer, known=known))

    async def sweep(self) -> None:
        await self._call(self._store.sweep)


class SimNode:
    """One life of a node: from its start until it is killed or stopped."""

    def __init__(
        self,
        name: str,
        *,
        incarnation: int,
        store: PureStore,
        weather: Weather,
        rng: Random,
        effects: Effects,
        trace: Trace,
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.bell = asyncio.Event()
        self._store = store
        self._effects = effects
        self._trace = trace
        self._rng = rng
        self._awake = asyncio.Event()
        self._awake.set()
        self._link = Link(self, store, weather)
        self._holds = Holds(clock=asyncio.get_running_loop().time)
        self._active = 0
        self._alone = ""
        claimer = Claimer(node_id=name, incarnation=incarnation, task_types=TYPES, capabilities=frozenset())
        self.worker = Worker(
            cast("TaskStore", self._link),
            self._handlers(),
            WorkerSettings(
                capacity=CAPACITY,
                timings=TIMINGS,
                max_result_bytes=10_000,
                claimer=lambda: claimer,
                clock=asyncio.get_running_loop().time,
                rng=rng,
            ),
            holds=self._holds,
            tally=Tally(),
            renew_soon=lambda: None,
        )
        self._tasks = [asyncio.create_task(self.worker.run()), asyncio.create_task(self._pulse())]

    @property
    def is_up(self) -> bool:
        return bool(self._tasks)

    async def stalled(self) -> None:
        """Return once the node is not standing still: what every step of a stopped process waits for."""
        await self._awake.wait()

    async def stall(self, seconds: float) -> None:
        """Stand still for a while, as a stopped process does."""
        self._trace(f"{self.name:8} stands still for {seconds:.1f} s")
        self._awake.clear()
        await asyncio.sleep(seconds)
        self._awake.set()

    def kill(self) -> None:
        """End at once; whatever is under way is never answered. May be called from a handler of the node."""
        self._trace(f"{self.name:8} is killed")
        tasks, self._tasks = self._tasks, []
        self._awake = asyncio.Event()
        self.worker.stop_tasks(StopCause.LOST)
        for task in tasks:
            task.cancel()

    async def stop(self) -> None:
        """Drain and end."""
        tasks, self._tasks = self._tasks, []
        self.worker.stop()
        await tasks[0]
        tasks[1].cancel()

    async def _pulse(self) -> None:
        """Renew what is held and sweep, as the pulse of a real node does."""
        while True:
            await asyncio.sleep(TIMINGS.renew_ms / 1000 * self._rng.uniform(0.75, 1.25))
            with suppress(UnavailableError):
                holds = self._holds.to_renew()
                outcomes = await self._link.renew(holds)
                gone = (Outcome.FENCED, Outcome.MISSING, Outcome.EXPIRED)
                lost = [hold.task_id for hold, outcome in zip(holds, outcomes, strict=True) if outcome in gone]
                self.worker.stop_tasks(StopCause.LOST, lost)
                await self._link.sweep()

    def _handlers(self) -> HandlerTable:
        table = HandlerTable()
        table.add("short", self._short)
        table.add("long", self._long)
        table.add("flaky", self._flaky)
        table.add("killer", self._killer)
        return table

    async def _short(self, context: TaskContext) -> None:
        await self._work(context, 0.02)

    async def _long(self, context: TaskContext) -> None:
        await self._work(context, 5)

    async def _flaky(self, context: TaskContext) -> None:
        await self._work(context, 0.1, is_last=context.attempt > 1)
        if context.attempt == 1:
            raise Retry("once more")

    async def _killer(self, context: TaskContext) -> None:
        await self._work(context, 0.05, is_last=False)
        self._effects.kills[context.task_id] = self._effects.kills.get(context.task_id, 0) + 1
        for hold in self._holds.all():
            task = self._store.tasks[hold.task_id]
            if task.state is TaskState.RUNNING and task.token == hold.token and task.id != context.task_id:
                self._effects.hurt[task.id] = self._effects.hurt.get(task.id, 0) + 1
        self.kill()
        await asyncio.sleep(3600)

    async def _work(self, context: TaskContext, seconds: float, *, is_last: bool = True) -> Any:
        """Be busy for about so long, and note who else is."""
        self._active += 1
        task = self._store.tasks[context.task_id]
        is_suspect = task.is_suspect and task.token == context.token
        for parent in map(self._store.tasks.__getitem__, task.depends_on):
            if not (parent.state.is_terminal if task.runs_anyway else parent.state is TaskState.COMPLETED):
                self._effects.early.append(f"{task.id} began while {parent.id} was {parent.state}")
        if self._active > CAPACITY:
            self._effects.crowds.append(self.name)
        if self._alone or (is_suspect and self._active > 1):
            self._effects.together.append(f"{context.task_id} on {self.name} beside {self._alone or 'others'}")
        self._alone = self._alone or (context.task_id if is_suspect else "")
        try:
            await asyncio.sleep(self._rng.uniform(0, 2 * seconds))
            await self.stalled()
            if is_last:
                self._effects.finished.setdefault(context.task_id, set()).add(context.token)
        finally:
            self._active -= 1
            if self._alone == context.task_id:
                self._alone = ""
