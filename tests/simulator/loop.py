"""An event loop on virtual time: nothing waits, and the same seed gives the same run."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StandstillError(Exception):
    """Nothing is left that could ever happen, and the run has not ended."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Jumps to the next timer when nothing else is to do. It has no sockets, threads or signals."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Let virtual time pass: what a real loop spends in its selector."""
        if timeout is None:
            raise StandstillError
        self._now += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    def _write_to_self(self) -> None:
        return


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a virtual loop of its own.

    Raises:
        StandstillError: it waits for something that cannot come.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
