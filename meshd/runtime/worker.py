"""The worker: claims exactly as many tasks as it has free slots, runs them, hands their ends to the finisher."""

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.errors import UnavailableError
from meshd.runtime.context import Reporters
from meshd.runtime.execution import Execution, StopCause, Tools
from meshd.runtime.finisher import Finisher
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.holds import Holds
from meshd.runtime.outage import Outage
from meshd.runtime.quarantine import Quarantine
from meshd.runtime.vitals import Tally
from meshd.tasks.model import Claimer, Completed, Ending, Failed, Hold, Outcome, Released, Task, TaskTimings, Wake
from meshd.tasks.store import MAX_BATCH, TaskStore

logger = logging.getLogger(__name__)

_BARRED = frozenset({Outcome.FENCED, Outcome.EXPIRED, Outcome.MISSING})
CLAIMS_IN_FLIGHT = 3
"""A store that works beside this process is asked for a third of the slots at a time: it claims and records one third
while the handlers of another run, instead of both waiting for each other."""
SMALL_CLAIM = 8
"""Fewer at a time are not worth a call of their own."""
FRESH_S = 0.5
"""Claimed longer ago than this, a task starts only once the store has confirmed that it still may."""
TICK_S = 0.05
"""How often running attempts are held against their time-outs."""
LOOK_AGAIN_S = 0.5
"""While a node makes room for a suspect, it looks this often whether it should go on trying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How the worker works."""

    capacity: int
    timings: TaskTimings
    max_result_bytes: int
    claimer: Callable[[], Claimer]
    """Who claims; asked anew for each claim, since a rejoin changes the incarnation."""
    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    rng: Random = field(default_factory=Random)


class Worker:
    """Runs until stopped, then until what it runs has ended."""

    def __init__(
        self,
        tasks: TaskStore,
        handlers: HandlerTable,
        settings: WorkerSettings,
        *,
        holds: Holds,
        tally: Tally,
        renew_soon: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._handlers = handlers
        self._settings = settings
        self._holds = holds
        self._tally = tally
        self._is_strained = False
        self._renew_soon = renew_soon
        self._clock = settings.clock
        share = settings.capacity // CLAIMS_IN_FLIGHT if tasks.starts_ahead else settings.capacity
        self._most_at_once = min(MAX_BATCH, max(SMALL_CLAIM, share))
        self._rng = settings.rng
        self._outage = Outage(logger, "claiming tasks")
        self._threads = ThreadPoolExecutor(max_workers=settings.capacity, thread_name_prefix="meshd-handler")
        self._tools = Tools(
            threads=self._threads, rng=self._rng, max_result_bytes=settings.max_result_bytes, clock=settings.clock
        )
        self._finisher = Finisher(tasks, confirmed=self._confirmed, rng=self._rng)
        self._executions: dict[str, Execution] = {}
        self._reporting: dict[Hold, tuple[str, float]] = {}
        """Of the ends on their way to the store: the task's type, and how long it ran in milliseconds."""
        self._open = 0
        self._stuck = 0
        self._changed = asyncio.Event()
        self._paused = False
        self._stopping = False
        self._bell: asyncio.Task[Wake] | None = None
        self._is_in_doubt = False
        self._store_ahead_s = math.inf
        self._quarantine = Quarantine(self._rng)
        self._runs_suspect = False
        self._ticking: asyncio.TimerHandle | None = None
        self._reports: dict[str, tuple[float | None, str]] = {}
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def open_tasks(self) -> int:
        """Tasks held: claimed, running, or ended and not yet confirmed."""
        return self._open

    @property
    def is_full(self) -> bool:
        return self._free_slots <= 0

    @property
    def _free_slots(self) -> int:
        """Slots neither held by a task nor occupied by a handler that will not stop."""
        capacity = min(1, self._settings.capacity) if self._is_strained else self._settings.capacity
        return capacity - self._open - self._stuck

    def pause(self, paused: bool) -> None:
        """Claim nothing while paused."""
        self._paused = paused
        self._changed.set()

    def strain(self, strained: bool) -> None:
        """Hold one task at a time while strained; more that are held already go on."""
        self._is_strained = strained
        self._changed.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what runs has ended."""
        self._stopping = True
        self._changed.set()

    def stop_tasks(self, cause: StopCause, task_ids: Sequence[str] | None = None) -> None:
        """Tell these running handlers to stop, all of them by default."""
        for task_id in list(self._executions) if task_ids is None else task_ids:
            execution = self._executions.get(task_id)
            if execution is not None:
                execution.stop(cause)

    async def run(self) -> None:
        """Work until `stop`, then until every task held has ended and is confirmed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._finisher.run(), name="meshd finisher")
                while not self._stopping:
                    await self._claim_or_wait()
                await self._give_back_strays()
                while self._open:
                    await self._wait_for_change()
                self._finisher.close()
        finally:
            await self._silence_bell()
            if self._ticking is not None:
                self._ticking.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _silence_bell(self) -> None:
        if self._bell is not None:
            bell, self._bell = self._bell, None
            bell.cancel()
            with suppress(asyncio.CancelledError, UnavailableError):
                await bell

    async def _give_back_strays(self) -> None:
        """Give back at once what was claimed for this node and never reached it."""
        await self._silence_bell()
        with suppress(UnavailableError):
            await self._tasks.reconcile(self._settings.claimer(), known=self._holds.all())

    async def _claim_or_wait(self) -> None:
        is_ringing = self._bell is None or self._bell.done()
        if not is_ringing or (self._bell is None and self._claimable <= 0):
            await self._wait_for_change()
            return
        try:
            # What came with the bell is held before whatever is not held is given back.
            await self._answer_bell()
            if self._is_in_doubt:
                await self._tasks.reconcile(self._settings.claimer(), known=self._holds.all())
                self._is_in_doubt = False
            if self._claimable > 0:
                await self._claim()
            self._outage.over()
        except UnavailableError as exc:
            self._is_in_doubt = True
            self._outage.met(exc)
            await asyncio.sleep(self._rng.uniform(0.1, 0.5))

    @property
    def _claimable(self) -> int:
        """How many tasks to claim now: a suspect runs alone, and room is made for it."""
        if self._paused or self._runs_suspect:
            return 0
        if self._open and self._quarantine.wants_room(now=self._clock()):
            return 0
        return min(self._free_slots, self._most_at_once)

    async def _wait_for_change(self) -> None:
        if self._quarantine.is_concerned:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._changed.wait()
        else:
            await self._changed.wait()
        self._changed.clear()

    async def _answer_bell(self) -> None:
        """Take what was handed over with the bell, and learn how the wait for it ended."""
        if self._bell is None:
            return
        bell, self._bell = self._bell, None
        wake = bell.result()
        if wake.tasks:
            claimed_ms = min(task.lease_until_ms for task in wake.tasks) - self._settings.timings.lease_ms
            age_s = self._clock() + self._store_ahead_s - claimed_ms / 1000
            await self._take(wake.tasks, is_fresh=age_s < FRESH_S)

    async def _claim(self) -> None:
        timings = self._settings.timings
        asked = self._clock()
        alone = self._quarantine.should_claim_alone(is_empty=self._open == 0, now=asked)
        limit = self._claimable
        claimed = await self._tasks.claim(self._settings.claimer(), limit=limit, lease_ms=timings.lease_ms, alone=alone)
        crash_point("after_claim")
        now = self._clock()
        self._quarantine.told(suspects_wait=claimed.suspects_wait, now=now)
        self._store_ahead_s = claimed.now_ms / 1000 - now
        if claimed.tasks:
            await self._take(claimed.tasks, is_fresh=now - asked < FRESH_S)
        elif alone:
            self._quarantine.missed(now=now)
        goes_alone = self._quarantine.should_claim_alone(is_empty=self._open == 0, now=now)
        if len(claimed.tasks) < limit and not (alone or goes_alone or self._stopping):
            self._listen()

    def _listen(self) -> None:
        self._bell = asyncio.create_task(self._wait_for_bell(), name="meshd bell")

    async def _wait_for_bell(self) -> Wake:
        """Say that the wait is over in the same turn of the loop in which it ends."""
        try:
            return await self._tasks.wait_for_work(self._settings.claimer(), timeout_ms=self._settings.timings.poll_ms)
        finally:
            self._changed.set()

    async def _take(self, tasks: Sequence[Task], *, is_fresh: bool) -> None:
        """Start what was claimed; give back what a stop or a pause in the meantime no longer allows."""
        holds = [Hold(task_id=task.id, token=task.token) for task in tasks]
        self._open += len(tasks)
        for task, hold in zip(tasks, holds, strict=True):
            self._holds.add(task, hold)
        if self._stopping or self._paused:
            self._give_back(holds)
            return
        starting = asyncio.create_task(self._start(holds), name="meshd start")
        if is_fresh and self._tasks.starts_ahead and all(task.claims == 1 for task in tasks):
            self._running.add(starting)
            starting.add_done_callback(self._running.discard)
            await asyncio.sleep(0)
            outcomes = starting.result() if starting.done() else [Outcome.OK] * len(holds)
        else:
            outcomes = await starting
        for task, hold, outcome in zip(tasks, holds, outcomes, strict=True):
            if outcome is Outcome.OK:
                self._launch(task, hold)
            elif outcome is None:
                self._give_back([hold])
            else:
                self._free(hold)

    async def _start(self, holds: Sequence[Hold]) -> Sequence[Outcome | None]:
        """Record the starts, and stop what runs already and must not; `None` when the store did not say."""
        try:
            outcomes = await self._tasks.start(holds)
        except UnavailableError as exc:
            logger.warning("the start of %d claimed tasks is not recorded: %s", len(holds), exc)
            return [None] * len(holds)
        barred = [hold.task_id for hold, outcome in zip(holds, outcomes, strict=True) if outcome in _BARRED]
        if barred:
            self.stop_tasks(StopCause.LOST, barred)
        return outcomes

    def _give_back(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            self._finisher.add(Released(hold=hold))

    def _launch(self, task: Task, hold: Hold) -> None:
        handler = self._handlers.get(task.type)
        if handler is None:
            self._finisher.add(Released(hold=hold))
            return
        execution = Execution(
            task, hold, handler, tools=self._tools, reporters=self._reporters, ended=self._execution_ended
        )
        self._executions[task.id] = execution
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self._runs_suspect = self._runs_suspect or task.is_suspect
        execution.begin()

    def _tick(self) -> None:
        now = self._clock()
        for execution in list(self._executions.values()):
            execution.check_time(now)
        self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick) if self._executions else None

    def _execution_ended(self, execution: Execution, ending: Ending | None) -> None:
        if self._executions.get(execution.task.id) is execution:
            del self._executions[execution.task.id]
        if execution.stuck is not None:
            self._stuck += 1
            execution.stuck.add_done_callback(self._unstick)
        crash_point("before_ack")
        if ending is None:
            self._free(execution.hold)
        else:
            if isinstance(ending, Completed | Failed):
                self._reporting[ending.hold] = (execution.task.type, execution.elapsed_ms)
            self._finisher.add(ending)

    def _confirmed(self, ending: Ending, outcome: Outcome) -> None:
        """The store answered: only an end it recorded counts as one of this node's."""
        reported = self._reporting.pop(ending.hold, None)
        if reported is not None and outcome in (Outcome.OK, Outcome.ALREADY_DONE):
            task_type, elapsed_ms = reported
            self._tally.add(task_type, completed=isinstance(ending, Completed), elapsed_ms=elapsed_ms)
        self._free(ending.hold)

    def _unstick(self, _: asyncio.Future[Any]) -> None:
        self._stuck -= 1
        self._changed.set()

    def _free(self, hold: Hold) -> None:
        self._holds.remove(hold)
        self._reports.pop(hold.task_id, None)
        self._open -= 1
        self._runs_suspect = self._runs_suspect and self._open > 0
        self._changed.set()

    def _reporters(self, execution: Execution) -> Reporters:
        loop = asyncio.get_running_loop()
        hold = execution.hold

        def touch() -> None:
            execution.progressed()
            self._holds.progressed(hold)

        def progress(fraction: float | None, note: str) -> None:
            touch()
            loop.call_soon_threadsafe(self._report, hold, fraction, note)

        def heartbeat() -> None:
            touch()
            self._renew_soon()

        return Reporters(progress=progress, heartbeat=heartbeat)

    def _report(self, hold: Hold, fraction: float | None, note: str) -> None:
        """Send the newest report of a task; those made while one is on its way replace each other."""
        is_sending = hold.task_id in self._reports
        self._reports[hold.task_id] = (fraction, note)
        if not is_sending and hold.task_id in self._executions:
            sending = asyncio.create_task(self._send_reports(hold), name=f"meshd progress {hold.task_id}")
            self._running.add(sending)
            sending.add_done_callback(self._running.discard)

    async def _send_reports(self, hold: Hold) -> None:
        sent: tuple[float | None, str] | None = None
        while (report := self._reports.get(hold.task_id)) is not None and report is not sent:
            try:
                await self._tasks.progress(hold, fraction=report[0], note=report[1])
            except UnavailableError as exc:
                logger.info("progress of task %s was not recorded: %s", hold.task_id, exc)
            sent = report
        self._reports.pop(hold.task_id, None)


_CRASH_POINT = os.environ.get("MESHD_CRASH_POINT", "")


def crash_point(name: str) -> None:
    """Kill this process here if the environment names this point: how tests die at an exact step."""
    if name == _CRASH_POINT:
        os.kill(os.getpid(), signal.SIGKILL)
