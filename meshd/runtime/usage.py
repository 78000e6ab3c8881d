"""What this process uses of its machine."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")
"""Memory of this process in pages, where the kernel offers it: the library for it would itself take 6 MiB."""


def resident_bytes() -> int:
    """Return the memory this process has in RAM."""
    if _STATM.exists():
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    import psutil  # noqa: PLC0415 -- only where the kernel offers no such file

    return psutil.Process().memory_info().rss


class CpuMeter:
    """Measures the share of one core this process used from one reading to the next."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = clock()
        self._used = time.process_time()

    def read(self) -> float:
        """Return the percentage since the reading before; 0 when no time has passed."""
        now, used = self._clock(), time.process_time()
        elapsed, spent = now - self._read_at, used - self._used
        self._read_at, self._used = now, used
        return 100 * spent / elapsed if elapsed > 0 else 0.0
