"""What a node measures about itself: its own process, not the machine."""

import threading
from collections.abc import Callable
from time import monotonic

import psutil

from meshd.nodes.model import NodeStatus, Vitals

_MIB = 1024 * 1024

CPU_WINDOW_SECONDS = 0.5
"""Shortest time a CPU reading covers: the kernel counts in ticks of 10 ms, so less would show hundreds of percent."""


class Tally:
    """Counts ended tasks; the worker adds, the pulse reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._completed = 0
        self._failed = 0
        self._total_ms = 0.0

    def add(self, *, completed: bool, elapsed_ms: float) -> None:
        with self._lock:
            if completed:
                self._completed += 1
            else:
                self._failed += 1
            self._total_ms += elapsed_ms

    def read(self) -> tuple[int, int, float]:
        """Return completed, failed, and the mean time per ended task in milliseconds."""
        with self._lock:
            ended = self._completed + self._failed
            return self._completed, self._failed, self._total_ms / ended if ended else 0.0


class VitalSigns:
    """Measures this process; CPU is the share of one core used since the reading before."""

    def __init__(self, tally: Tally, *, clock: Callable[[], float] = monotonic) -> None:
        self._tally = tally
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._clock = clock
        self._cpu_read_at = clock()
        self._cpu_percent = 0.0

    def measure(self, *, status: NodeStatus, open_tasks: int) -> Vitals:
        """Return the vitals of this moment."""
        completed, failed, average_ms = self._tally.read()
        return Vitals(
            status=status,
            open_tasks=open_tasks,
            tasks_completed=completed,
            tasks_failed=failed,
            average_response_ms=round(average_ms, 3),
            memory_mb=round(self._process.memory_info().rss / _MIB, 1),
            cpu_percent=self._cpu(),
        )

    def _cpu(self) -> float:
        now = self._clock()
        if now - self._cpu_read_at >= CPU_WINDOW_SECONDS:
            self._cpu_read_at = now
            self._cpu_percent = round(self._process.cpu_percent(), 1)
        return self._cpu_percent
