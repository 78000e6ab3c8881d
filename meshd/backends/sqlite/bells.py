"""Bells: how one process wakes another without anybody polling.

A bell is a named pipe next to the store file, one per opened backend that waits for something. A ring is one short
line: `h` for hints, `w` and a node's id for work. A ring is news, not truth: it may be lost, and whoever waits looks
at the store now and then. A ring that comes before the wait is remembered.
"""

import asyncio
import errno
import os
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from meshd.ids import new_id

_HINTS = b"h"
_WORK = b"w"
_GONE = frozenset({errno.ENXIO, errno.ENOENT})
_PIPE_BYTES = 65_536
_UNFINISHED = "."
_MAKING_S = 60


def ring(folder: Path, bell: str, *, node_id: str = "") -> bool:
    """Ring a bell, for hints or for the work of `node_id`; return whether anybody can still hear it. Never blocks."""
    line = (_WORK + node_id.encode() if node_id else _HINTS) + b"\n"
    try:
        pipe = os.open(folder / bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        return exc.errno not in _GONE
    try:
        os.write(pipe, line)
    except (BlockingIOError, BrokenPipeError):
        return True
    finally:
        os.close(pipe)
    return True


def clear_away(folder: Path, bell: str) -> None:
    """Remove the pipe of a bell nobody listens to."""
    with suppress(OSError):
        (folder / bell).unlink()


def clear_away_all(folder: Path) -> None:
    """Remove the pipes that killed processes left behind."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if path.is_fifo() and not _is_being_made(path) and _is_silent(path):
                path.unlink(missing_ok=True)


def _is_being_made(path: Path) -> bool:
    return path.name.startswith(_UNFINISHED) and time.time() - path.stat().st_mtime < _MAKING_S


def _is_silent(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        return exc.errno == errno.ENXIO
    return False


class Bell:
    """This backend's own bell. Used from one event loop only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = ""
        self.closed = False
        self._pipes: tuple[int, int] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rest = b""
        self._work: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._listeners: set[asyncio.Event] = set()

    def hang(self) -> str:
        """Make sure the bell hangs where others can ring it; return its name, empty where pipes are not to be had."""
        if self._pipes is not None and not (self.folder / self.name).exists():
            self._take_down()
        if self._pipes is None and not self.closed:
            try:
                self._hang()
            except OSError:
                self.name = ""
        return self.name

    def _hang(self) -> None:
        self.folder.mkdir(exist_ok=True)
        name = new_id()
        # Opened under another name first: a pipe without a reader would be cleared away as a dead process's.
        unfinished = self.folder / f"{_UNFINISHED}{name}"
        os.mkfifo(unfinished)
        try:
            reader = os.open(unfinished, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # A writer of our own keeps the pipe from reporting its end whenever a ringer closes.
            writer = os.open(unfinished, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._pipes = (reader, writer)
            self.name = name
            unfinished.rename(self.folder / name)
        except OSError:
            self._take_down()
            clear_away(self.folder, unfinished.name)
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(reader, self._hear)

    def _hear(self) -> None:
        if self._pipes is None:
            return
        try:
            heard = os.read(self._pipes[0], _PIPE_BYTES)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in set(lines):
            if line == _HINTS:
                for listener in self._listeners:
                    listener.set()
            elif line[:1] == _WORK:
                self._work[line[1:].decode(errors="replace")].set()

    def quiet(self, node_id: str) -> None:
        """Forget rings for work heard so far: the claimer is about to look."""
        self._work[node_id].clear()

    async def wait_for_work(self, node_id: str, *, timeout_ms: int) -> bool:
        """Return whether the bell rang for this node since it last looked, waiting up to `timeout_ms`."""
        rung = self._work[node_id]
        heard = await wait_until_set(rung, timeout_ms=timeout_ms)
        rung.clear()
        return heard and not self.closed

    def listen(self) -> asyncio.Event:
        """Return an event that is set whenever the bell rings for hints."""
        listener = asyncio.Event()
        self._listeners.add(listener)
        return listener

    def ignore(self, listener: asyncio.Event) -> None:
        self._listeners.discard(listener)

    def close(self) -> None:
        """Take the bell down and end every wait."""
        self.closed = True
        self._take_down()
        for event in (*self._work.values(), *self._listeners):
            event.set()

    def _take_down(self) -> None:
        if self._pipes is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._pipes[0])
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes = None
        clear_away(self.folder, self.name)


async def wait_until_set(event: asyncio.Event, *, timeout_ms: float) -> bool:
    """Return whether `event` is set, waiting up to `timeout_ms`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, timeout_ms) / 1000):
            await event.wait()
    return event.is_set()
