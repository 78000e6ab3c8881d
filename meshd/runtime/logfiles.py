"""Logs that never grow without bound: written by the process that owns them, turned by that same process.

Whoever starts a process opens its log as the process's own output, so even an interpreter that dies at once leaves its
last words. The process then turns the file by swapping its own descriptors, which loses no line; at most
`2 * LOG_BYTES`, and what one check interval writes, are ever on disk.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import sleep
from typing import BinaryIO

LOG_BYTES = 10 * 1024 * 1024
FOLLOW_SECONDS = 0.1


def open_log(path: Path, *, limit: int = LOG_BYTES) -> BinaryIO:
    """Open the log for appending, turned first if it is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size >= limit:
            path.replace(older(path))
    return path.open("ab", buffering=0)


def turn_if_full(path: Path, *, limit: int = LOG_BYTES, outputs: tuple[int, ...] = (1, 2)) -> bool:
    """Give `outputs`, which write to `path`, a fresh file once the old one is full; return whether that happened."""
    if os.fstat(outputs[0]).st_size < limit:
        return False
    with open_log(path, limit=limit) as fresh:
        for output in outputs:
            os.dup2(fresh.fileno(), output)
    return True


def older(path: Path) -> Path:
    """Return where the log before this one is kept."""
    return path.with_name(f"{path.name}.1")


def tail(path: Path, *, lines: int) -> list[str]:
    """Return the last lines, those of the older file included when the current one has too few."""
    kept: deque[str] = deque(maxlen=lines)
    for source in (older(path), path):
        with suppress(FileNotFoundError), source.open("rb") as file:
            kept.extend(line.decode(errors="replace").rstrip("\n") for line in file)
    return list(kept)


def follow(path: Path, *, lines: int = 10, wait: Callable[[], None] | None = None) -> Iterator[str]:
    """Yield the last `lines` lines, then each new one, across turns of the file, for ever.

    `wait` passes the time between two looks at the file; by default it sleeps `FOLLOW_SECONDS`.
    """
    wait = wait or partial(sleep, FOLLOW_SECONDS)
    before = tail(older(path), lines=lines)
    is_first = True
    while True:
        while not path.exists():
            wait()
        with path.open("rb") as file:
            reader = _LineReader(file)
            turned = False
            while not turned:
                turned = _was_turned(path, file.fileno())
                batch = reader.read()
                yield from [*before, *batch][-lines:] if is_first else batch
                is_first = False
                wait()


class _LineReader:
    """Hands out whole lines of a growing file; a line still being written waits for its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._part = b""

    def read(self) -> list[str]:
        *whole, self._part = (self._part + self._file.read()).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


def _was_turned(path: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
