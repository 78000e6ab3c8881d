"""One thread that does what it is asked in order, and tells the loop that asked: what SQLite needs, and no more.

An executor does the same by way of a second future with a lock of its own, at more than twice the cost.
"""

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
_Tell = Callable[["asyncio.Future[Any]", Any, BaseException | None], None]
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any], _Tell]


class WorkerThread:
    """Runs functions one after another; the thread begins with the first, and ends with `close` or with its owner."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._is_started = False
        self._asked = 0
        self._end = weakref.finalize(self, self._jobs.put, None)

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Return what will have what `function` returned or raised. Cancelled before its turn, it is not run.

        Raises:
            RuntimeError: the thread was told to end.
        """
        if not self._end.alive:
            raise RuntimeError(f"thread {self._name} was closed")
        if not self._is_started:
            self._is_started = True
            Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True).start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._asked += 1
        self._jobs.put((loop, future, function, self._tell))
        return future

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being done, and nothing waits: true only until the next `run`."""
        return not self._asked

    def _tell(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        self._asked -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def close(self) -> None:
        """Take nothing more, and end once everything is done. Idempotent."""
        self._end()


def _work(jobs: "SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        loop, future, function, tell = job
        result, error = None, None
        try:
            result = None if future.cancelled() else function()
        except BaseException as exc:  # noqa: BLE001 -- whoever asked gets it
            error = exc
        # A loop that is closed by now has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, future, result, error)
        del job, loop, future, function, tell, result, error
