"""One attempt: from a claimed task to how it ended. It touches no store, so nothing here can lose a task."""

import asyncio
import ctypes
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any

from meshd.errors import InvalidPayloadError, PayloadTooLargeError
from meshd.runtime.context import Reporters, TaskContext, running_task
from meshd.runtime.handlers import Handler, encode_result
from meshd.runtime.signals import Reject, Retry, TaskStopped
from meshd.tasks.backoff import retry_delay_ms
from meshd.tasks.model import Completed, Ending, Failed, FailureKind, Hold, Released, Stopped, Task

MAX_MESSAGE = 2_000
MAX_DETAIL = 8_000
"""Characters kept of an error's message and of its traceback."""
STOP_WAIT = 1.0
"""Seconds a handler gets to end after its timeout before the attempt is reported without it."""


class StopCause(StrEnum):
    """Why a running handler is told to stop."""

    CANCELLED = "cancelled"
    """Somebody cancelled the task: it ends so."""
    DRAINED = "drained"
    """The node goes: the task is given back, no attempt charged."""
    LOST = "lost"
    """The task belongs to somebody else: nothing is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every execution of a node uses."""

    threads: ThreadPoolExecutor
    rng: Random
    max_result_bytes: int
    clock: Callable[[], float]
    """Monotonic seconds."""


class Execution:
    """Runs one task's handler once, as an asyncio task of its own; `stop` may come at any moment."""

    def __init__(
        self,
        task: Task,
        hold: Hold,
        handler: Handler,
        *,
        tools: Tools,
        reporters: Callable[["Execution"], Reporters],
        ended: Callable[["Execution", Ending | None], None],
    ) -> None:
        self.task = task
        self.hold = hold
        self.elapsed_ms = 0.0
        self._handler = handler
        self._tools = tools
        self._reporters = reporters
        self._ended = ended
        self._stopping = threading.Event() if handler.context_parameter or not handler.is_async else None
        self._cause: StopCause | None = None
        self._is_stopping = False
        self._is_called = False
        self._overrun = ""
        self._is_given_up = False
        self._is_over = False
        self._started = 0.0
        self._progress_at = 0.0
        self._runner: asyncio.Task[None] | None = None
        self._check_at = 0.0
        self._thread_id: int | None = None
        self._thread_lock = threading.Lock()

    @property
    def stuck(self) -> asyncio.Future[Any] | None:
        """The handler's call, if it still runs after the attempt was given up: it ignores every request to stop."""
        return self._runner if self._is_given_up else None

    def begin(self) -> None:
        """Start the handler. `ended` is called once with how the task ends, `None` when that is not ours to say."""
        self._started = self._progress_at = self._tools.clock()
        self._runner = asyncio.get_running_loop().create_task(self._run())
        policy = self.task.policy
        self._check_at = self._started + (policy.progress_timeout_ms or policy.timeout_ms) / 1000

    def progressed(self) -> None:
        """The handler gave a sign of progress. May be called from any thread."""
        self._progress_at = self._tools.clock()

    def stop(self, cause: StopCause) -> None:
        """Tell the handler to stop; the first cause counts, except that a lost task stays lost."""
        if self._cause is None or cause is StopCause.LOST:
            self._cause = cause
        self._interrupt()

    def _interrupt(self) -> None:
        self._is_stopping = True
        if self._stopping is not None:
            self._stopping.set()
        if self._runner is not None and self._is_called:
            self._runner.cancel()
        if not self._handler.is_async:
            self._interrupt_thread()

    def check_time(self, now: float) -> None:
        """Stop the handler if it ran out of time or makes no progress; give it up if it does not stop. Call often.

        One timer for all executions of a node instead of one each: most end long before their time.
        """
        if now < self._check_at:
            return
        if self._overrun:
            self._is_given_up = True
            self._end(None)
            return
        policy = self.task.policy
        end = self._started + policy.timeout_ms / 1000
        quiet_end = self._progress_at + policy.progress_timeout_ms / 1000 if policy.progress_timeout_ms else end
        if now >= end:
            self._overdue(now, f"ran longer than its timeout of {policy.timeout_ms / 1000:g} s")
        elif now >= quiet_end:
            self._overdue(now, f"made no progress for {policy.progress_timeout_ms / 1000:g} s")
        else:
            self._check_at = min(end, quiet_end)

    def _overdue(self, now: float, overrun: str) -> None:
        self._overrun = overrun
        self._check_at = now + STOP_WAIT
        self._interrupt()

    def _end(self, ending: Ending | None) -> None:
        """Report the end, the first time; what an overdue handler says or does is its timeout all the same."""
        if self._is_over:
            return
        self._is_over = True
        self.elapsed_ms = (self._tools.clock() - self._started) * 1000
        self._ended(self, self._timed_out() if self._overrun else ending)

    async def _run(self) -> None:
        self._end(await self._attempt())

    async def _attempt(self) -> Ending | None:
        try:
            arguments = self._arguments()
            self._is_called = True
            running_task.set(self.task.id)
            if self._is_stopping:
                return self._stopped()
            if self._handler.is_async:
                value = await self._handler.function(**arguments)
            else:
                value = await self._call_in_thread(arguments)
            return Completed(hold=self.hold, result=encode_result(value, limit=self._tools.max_result_bytes))
        except (asyncio.CancelledError, TaskStopped):
            return self._stopped()
        except Retry as exc:
            return self._retried(exc, delay_ms=None if exc.delay is None else int(exc.delay.total_seconds() * 1000))
        except (Reject, InvalidPayloadError, PayloadTooLargeError) as exc:
            return self._failed(FailureKind.REJECTED, exc, retry_in_ms=None)
        except (Exception, SystemExit, KeyboardInterrupt) as exc:  # noqa: BLE001 -- never the node's failure
            return self._retried(exc)

    def _arguments(self) -> dict[str, Any]:
        arguments = self._handler.parse(self.task.payload)
        if self._handler.context_parameter is not None and self._stopping is not None:
            arguments[self._handler.context_parameter] = TaskContext(
                self.task, stopping=self._stopping, reporters=self._reporters(self)
            )
        return arguments

    async def _call_in_thread(self, arguments: dict[str, Any]) -> Any:
        """Call the handler in a thread; a first cancel only waits for the thread, which is told to stop as well."""
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._tools.threads, partial(self._in_thread, arguments))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            return await asyncio.shield(call)

    def _in_thread(self, arguments: dict[str, Any]) -> Any:
        with self._thread_lock:
            if self._is_stopping:
                raise TaskStopped
            self._thread_id = threading.get_ident()
        try:
            running_task.set(self.task.id)
            return self._handler.function(**arguments)
        finally:
            with self._thread_lock:
                self._thread_id = None

    def _interrupt_thread(self) -> None:
        """Raise `TaskStopped` in the handler's thread at its next Python instruction."""
        if not self._thread_lock.acquire(timeout=0.1):
            return
        try:
            if self._thread_id is not None:
                thread = ctypes.c_ulong(self._thread_id)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TaskStopped))
        finally:
            self._thread_lock.release()

    def _stopped(self) -> Ending | None:
        match self._cause:
            case StopCause.CANCELLED:
                return Stopped(hold=self.hold)
            case StopCause.DRAINED:
                return Released(hold=self.hold)
            case StopCause.LOST:
                return None
            case None:
                return self._retried(RuntimeError("the handler cancelled itself"))

    def _timed_out(self) -> Failed:
        if self._cause is not None:
            return self._retried(TimeoutError())
        error = TimeoutError(f"{self._overrun} and was told to stop")
        return self._failed(FailureKind.TIMEOUT, error, retry_in_ms=self._backoff())

    def _retried(self, error: BaseException, *, delay_ms: int | None = None) -> Failed:
        return self._failed(FailureKind.ERROR, error, retry_in_ms=self._backoff() if delay_ms is None else delay_ms)

    def _backoff(self) -> int:
        return retry_delay_ms(self.task.policy, failures=self.task.failures + 1, rng=self._tools.rng)

    def _failed(self, kind: FailureKind, error: BaseException, *, retry_in_ms: int | None) -> Failed:
        message = f"{type(error).__name__}: {error}" if kind is FailureKind.ERROR else str(error)
        detail = "".join(traceback.format_exception(error)) if kind is FailureKind.ERROR else ""
        return Failed(
            hold=self.hold,
            kind=kind,
            message=message[:MAX_MESSAGE],
            detail=detail[-MAX_DETAIL:],
            retry_in_ms=retry_in_ms,
        )
