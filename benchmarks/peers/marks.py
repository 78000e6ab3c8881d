"""What a worker process leaves for the benchmark to read: how many handlers ended, when the first and the last did.

One mapped file per process, so a mark costs no system call and no round trip, the same in every Python peer. All times
are the machine's monotonic clock, which its processes share.
"""

import mmap
import os
import struct
from pathlib import Path
from time import monotonic_ns

FORMAT = struct.Struct("<QQQ")
"""Count, first and last, the times in nanoseconds."""


class Marks:
    """The marks of this process, in the folder `BENCH_MARKS`; the file appears with the first."""

    def __init__(self) -> None:
        self._count = 0
        self._first = 0
        self._map: mmap.mmap | None = None

    def hit(self) -> None:
        """Count one handler that ended."""
        now = monotonic_ns()
        if self._map is None:
            self._map = _create(Path(os.environ["BENCH_MARKS"]) / str(os.getpid()))
            self._first = now
        self._count += 1
        FORMAT.pack_into(self._map, 0, self._count, self._first, now)


def _create(path: Path) -> mmap.mmap:
    path.write_bytes(bytes(FORMAT.size))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), FORMAT.size)


MARKS = Marks()
