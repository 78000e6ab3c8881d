"""What a node measures about itself: its own process, not the machine."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from meshd.nodes.model import HISTORY_HALF_LIFE_S, HISTORY_TYPES, NodeStatus, TypeHistory, Vitals
from meshd.runtime.usage import CpuMeter, resident_bytes

_MIB = 1024 * 1024

CPU_WINDOW_SECONDS = 0.5
"""Shortest time a CPU reading covers: the kernel counts in ticks of 10 ms, so less would show hundreds of percent."""


RELIEF = 0.9
"""Share of a limit under which a node that was over it is well again: so it does not change its mind each beat."""

AGED_EACH_S = 1.0
"""Ends weigh the same for this long, so that counting one costs next to nothing."""

FORGOTTEN = 0.01
"""A history whose ended tasks weigh less than this says nothing any more."""


@dataclass(slots=True)
class _Ends:
    """The ends of one type's tasks, as they weigh at one moment."""

    at: float
    completed: float = 0.0
    failed: float = 0.0
    total_ms: float = 0.0

    def age(self, now: float) -> None:
        if now - self.at < AGED_EACH_S:
            return
        kept = 0.5 ** ((now - self.at) / HISTORY_HALF_LIFE_S)
        self.completed *= kept
        self.failed *= kept
        self.total_ms *= kept
        self.at = now

    @property
    def weight(self) -> float:
        return self.completed + self.failed


class Tally:
    """Counts ended tasks; the worker adds, the pulse reads."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._completed = 0
        self._failed = 0
        self._total_ms = 0.0
        self._ends: dict[str, _Ends] = {}

    def add(self, task_type: str, *, completed: bool, elapsed_ms: float) -> None:
        with self._lock:
            self._total_ms += elapsed_ms
            now = self._clock()
            ends = self._ends.setdefault(task_type, _Ends(now))
            ends.age(now)
            ends.total_ms += elapsed_ms
            if completed:
                self._completed += 1
                ends.completed += 1
            else:
                self._failed += 1
                ends.failed += 1

    def read(self) -> tuple[int, int, float]:
        """Return completed, failed, and the mean time per ended task in milliseconds."""
        with self._lock:
            ended = self._completed + self._failed
            return self._completed, self._failed, self._total_ms / ended if ended else 0.0

    def history(self) -> dict[str, TypeHistory]:
        """Return how tasks ended of late, for the `HISTORY_TYPES` types that weigh most; forget what weighs nothing."""
        with self._lock:
            now = self._clock()
            for task_type, ends in list(self._ends.items()):
                ends.age(now)
                if ends.weight < FORGOTTEN:
                    del self._ends[task_type]
            heaviest = sorted(self._ends.items(), key=lambda item: (-item[1].weight, item[0]))[:HISTORY_TYPES]
        return {
            task_type: TypeHistory(
                completed=round(ends.completed, 3),
                failed=round(ends.failed, 3),
                average_ms=round(ends.total_ms / ends.weight, 1),
            )
            for task_type, ends in heaviest
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node may use of its machine before it takes less work; 0 sets no limit."""

    memory_mb: float = 0.0
    cpu_percent: float = 0.0


class VitalSigns:
    """Measures this process; CPU is the share of one core used since the reading before."""

    def __init__(
        self,
        tally: Tally,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = monotonic,
        read_cpu: Callable[[], float] | None = None,
    ) -> None:
        self._tally = tally
        self._limits = limits or Limits()
        self._read_cpu = read_cpu or CpuMeter(clock=clock).read
        self._clock = clock
        self._cpu_read_at = clock()
        self._cpu_percent = 0.0
        self._usual_cpu = 0.0
        self._is_strained = False

    def measure(self, *, status: NodeStatus, open_tasks: int) -> Vitals:
        """Return the vitals of this moment; over a limit, a node that would be active or busy is degraded."""
        completed, failed, average_ms = self._tally.read()
        memory_mb = resident_bytes() / _MIB
        cpu_percent = self._cpu()
        self._is_strained = self._judge(memory_mb)
        if self._is_strained and status in (NodeStatus.ACTIVE, NodeStatus.BUSY):
            status = NodeStatus.DEGRADED
        return Vitals(
            status=status,
            open_tasks=open_tasks,
            tasks_completed=completed,
            tasks_failed=failed,
            average_response_ms=round(average_ms, 3),
            memory_mb=round(memory_mb, 1),
            cpu_percent=cpu_percent,
            history=self._tally.history(),
        )

    @property
    def is_strained(self) -> bool:
        """Whether the last measurement was over a limit, or not yet well below it again."""
        return self._is_strained

    def _judge(self, memory_mb: float) -> bool:
        margin = RELIEF if self._is_strained else 1.0
        memory_limit, cpu_limit = self._limits.memory_mb * margin, self._limits.cpu_percent * margin
        return 0 < memory_limit < memory_mb or 0 < cpu_limit < self._usual_cpu

    def _cpu(self) -> float:
        now = self._clock()
        if now - self._cpu_read_at >= CPU_WINDOW_SECONDS:
            self._cpu_read_at = now
            self._cpu_percent = round(self._read_cpu(), 1)
            self._usual_cpu = (self._usual_cpu + self._cpu_percent) / 2
        return self._cpu_percent
