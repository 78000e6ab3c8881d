"""The worker: claims exactly as many tasks as it has free slots, runs them, hands their ends to the finisher."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from meshd.errors import UnavailableError
from meshd.runtime.context import Reporters
from meshd.runtime.execution import Execution, StopCause, Tools
from meshd.runtime.finisher import Finisher
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.holds import Holds
from meshd.runtime.outage import Outage
from meshd.runtime.vitals import Tally
from meshd.tasks.model import Claimer, Completed, Ending, Failed, Hold, Outcome, Released, Task, TaskTimings
from meshd.tasks.store import MAX_BATCH, TaskStore

logger = logging.getLogger(__name__)

RENEW_GRACE_MS = 5_000
"""A hold is renewed this much longer than its task's timeout, so that the timeout itself can still be reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How the worker works."""

    capacity: int
    timings: TaskTimings
    max_result_bytes: int
    claimer: Callable[[], Claimer]
    """Who claims; asked anew for each claim, since a rejoin changes the incarnation."""


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
        self._renew_soon = renew_soon
        self._rng = Random()
        self._outage = Outage(logger, "claiming tasks")
        self._threads = ThreadPoolExecutor(max_workers=settings.capacity, thread_name_prefix="meshd-handler")
        self._tools = Tools(threads=self._threads, rng=self._rng, max_result_bytes=settings.max_result_bytes)
        self._finisher = Finisher(tasks, confirmed=self._free, rng=self._rng)
        self._executions: dict[str, Execution] = {}
        self._open = 0
        self._stuck = 0
        self._changed = asyncio.Event()
        self._paused = False
        self._stopping = False
        self._bell: asyncio.Task[bool] | None = None
        self._reports: dict[str, tuple[float | None, str]] = {}
        self._running: set[asyncio.Task[None]] = set()

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
        return self._settings.capacity - self._open - self._stuck

    def pause(self, paused: bool) -> None:
        """Claim nothing while paused."""
        self._paused = paused
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
                while self._open:
                    await self._wait_for_change()
                self._finisher.close()
        finally:
            await self._silence_bell()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _silence_bell(self) -> None:
        if self._bell is not None:
            self._bell.cancel()
            with suppress(asyncio.CancelledError, UnavailableError):
                await self._bell

    async def _claim_or_wait(self) -> None:
        free = 0 if self._paused else self._free_slots
        if free <= 0 or (self._bell is not None and not self._bell.done()):
            await self._wait_for_change()
            return
        try:
            if self._bell is not None:
                bell, self._bell = self._bell, None
                bell.result()
            limit = min(free, MAX_BATCH)
            claimed = await self._claim(limit)
            self._outage.over()
        except UnavailableError as exc:
            self._outage.met(exc)
            await asyncio.sleep(self._rng.uniform(0.1, 0.5))
            return
        if len(claimed) < limit and not self._stopping:
            self._bell = asyncio.create_task(
                self._tasks.wait_for_work(self._settings.claimer(), timeout_ms=self._settings.timings.poll_ms),
                name="meshd bell",
            )
            self._bell.add_done_callback(lambda _: self._changed.set())

    async def _wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def _claim(self, limit: int) -> Sequence[Task]:
        timings = self._settings.timings
        claimed = await self._tasks.claim(self._settings.claimer(), limit=limit, lease_ms=timings.lease_ms)
        crash_point("after_claim")
        holds = [Hold(task_id=task.id, token=task.token) for task in claimed]
        self._open += len(claimed)
        for task, hold in zip(claimed, holds, strict=True):
            self._holds.add(hold, renew_for_ms=task.policy.timeout_ms + RENEW_GRACE_MS)
        if claimed:
            await self._start(claimed, holds)
        return claimed

    async def _start(self, claimed: Sequence[Task], holds: Sequence[Hold]) -> None:
        """Start what was claimed; give back what a stop in the meantime no longer allows."""
        if self._stopping:
            self._give_back(holds)
            return
        try:
            outcomes = await self._tasks.start(holds)
        except UnavailableError as exc:
            logger.warning("cannot start %d claimed tasks, giving them back: %s", len(claimed), exc)
            self._give_back(holds)
            return
        for task, hold, outcome in zip(claimed, holds, outcomes, strict=True):
            if outcome is Outcome.OK:
                self._launch(task, hold)
            else:
                self._free(hold)

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
        execution.begin()

    def _execution_ended(self, execution: Execution, ending: Ending | None) -> None:
        if self._executions.get(execution.task.id) is execution:
            del self._executions[execution.task.id]
        if execution.stuck is not None:
            self._stuck += 1
            execution.stuck.add_done_callback(self._unstick)
        if isinstance(ending, Completed | Failed):
            self._tally.add(completed=isinstance(ending, Completed), elapsed_ms=execution.elapsed_ms)
        crash_point("before_ack")
        if ending is None:
            self._free(execution.hold)
        else:
            self._finisher.add(ending)

    def _unstick(self, _: asyncio.Future[Any]) -> None:
        self._stuck -= 1
        self._changed.set()

    def _free(self, hold: Hold) -> None:
        self._holds.remove(hold)
        self._reports.pop(hold.task_id, None)
        self._open -= 1
        self._changed.set()

    def _reporters(self, hold: Hold) -> Reporters:
        loop = asyncio.get_running_loop()

        def progress(fraction: float | None, note: str) -> None:
            loop.call_soon_threadsafe(self._report, hold, fraction, note)

        return Reporters(progress=progress, heartbeat=self._renew_soon)

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
