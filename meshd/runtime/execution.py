"""One attempt: from a claimed task to how it ended. It touches no store, so nothing here can lose a task."""

import asyncio
import ctypes
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any

from meshd.errors import InvalidPayloadError, PayloadTooLargeError
from meshd.runtime.context import Reporters, TaskContext
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


class Execution:
    """Runs one task's handler once; `stop` may come at any moment."""

    def __init__(self, task: Task, handler: Handler, *, tools: Tools, reporters: Reporters) -> None:
        self.task = task
        self.hold = Hold(task_id=task.id, token=task.token)
        self.elapsed_ms = 0.0
        self._handler = handler
        self._tools = tools
        self._stopping = threading.Event()
        self._context = TaskContext(task, stopping=self._stopping, reporters=reporters)
        self._cause: StopCause | None = None
        self._runner: asyncio.Task[Any] | None = None
        self._thread_id: int | None = None
        self._thread_lock = threading.Lock()

    @property
    def stuck(self) -> asyncio.Future[Any] | None:
        """The handler's call, if it still runs after the attempt has ended: it ignores every request to stop."""
        return self._runner if self._runner is not None and not self._runner.done() else None

    def stop(self, cause: StopCause) -> None:
        """Tell the handler to stop; the first cause counts, except that a lost task stays lost."""
        if self._cause is None or cause is StopCause.LOST:
            self._cause = cause
        self._stopping.set()
        if self._runner is not None:
            self._runner.cancel()
        self._interrupt_thread()

    async def run(self) -> Ending | None:
        """Run the handler and return how the task ends; `None` when that is no longer this node's to say."""
        started = time.monotonic()
        try:
            return await self._run()
        finally:
            self.elapsed_ms = (time.monotonic() - started) * 1000

    async def _run(self) -> Ending | None:
        try:
            arguments = self._handler.parse(self.task.payload)
        except InvalidPayloadError as exc:
            return self._failed(FailureKind.REJECTED, exc, retry_in_ms=None)
        if self._handler.context_parameter is not None:
            arguments[self._handler.context_parameter] = self._context
        try:
            value = await self._call(arguments)
            return Completed(hold=self.hold, result=encode_result(value, limit=self._tools.max_result_bytes))
        except TimeoutError as exc:
            return self._timed_out() if self._stopping.is_set() and self._cause is None else self._retried(exc)
        except (asyncio.CancelledError, TaskStopped):
            return self._stopped()
        except Retry as exc:
            return self._retried(exc, delay_ms=None if exc.delay is None else int(exc.delay.total_seconds() * 1000))
        except (Reject, InvalidPayloadError, PayloadTooLargeError) as exc:
            return self._failed(FailureKind.REJECTED, exc, retry_in_ms=None)
        except Exception as exc:  # noqa: BLE001 -- whatever a handler raises becomes a recorded failure
            return self._retried(exc)

    async def _call(self, arguments: dict[str, Any]) -> Any:
        """Run the handler as a task of its own, so that stopping it never cancels us.

        Raises:
            TimeoutError: it ran longer than the task's timeout; it was told to stop.
        """
        if self._stopping.is_set():
            raise TaskStopped
        call = self._handler.function(**arguments) if self._handler.is_async else self._call_in_thread(arguments)
        work = asyncio.create_task(call)
        self._runner = work
        try:
            done, _ = await asyncio.wait({work}, timeout=self.task.policy.timeout_ms / 1000)
            if not done:
                self._stopping.set()
                work.cancel()
                self._interrupt_thread()
                await asyncio.wait({work}, timeout=STOP_WAIT)
        except asyncio.CancelledError:
            self.stop(StopCause.LOST)
            raise
        if not done:
            raise TimeoutError
        return work.result()

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
            if self._stopping.is_set():
                raise TaskStopped
            self._thread_id = threading.get_ident()
        try:
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
        seconds = self.task.policy.timeout_ms / 1000
        error = TimeoutError(f"ran longer than its timeout of {seconds:g} s and was told to stop")
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
