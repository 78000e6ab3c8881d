"""One system on one private store: the place of a measured run. Everything in it is gone at the end of the block."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.lab.clusters import Cluster
from benchmarks.lab.contenders import ROOT, Contender
from benchmarks.lab.processes import BrokenRunError, Process
from benchmarks.lab.servers import Server, Store
from benchmarks.peers.marks import FORMAT

CLIENT_TIMEOUT_S = 900
RUN_TIMEOUT_S = 600.0
POLL_S = 0.02
CONCURRENCY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one worker process has done."""

    count: int
    first_ns: int
    last_ns: int


class Site:
    """A contender, its store and its processes.

    The store is a Redis, with `primaries` a cluster of so many, or nothing where the contender keeps its own file.
    """

    def __init__(
        self,
        contender: Contender,
        *,
        results: bool = False,
        aof_always: bool = False,
        primaries: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.contender = contender
        self._results = results
        self._own_env = env or {}
        self._aof_always = aof_always
        self._primaries = primaries
        self.store: Store | None = None
        self._processes: list[Process] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="meshd-bench-")))
        self._marks = self.folder / "marks"
        self._marks.mkdir()
        if self._primaries:
            self.store = self._stack.enter_context(Cluster(self.folder / "redis", primaries=self._primaries))
        elif self.contender.on_redis:
            self.store = self.server = self._stack.enter_context(
                Server(self.folder / "redis", aof_always=self._aof_always)
            )
        self.url = f"sqlite:///{self.folder / 'mesh.db'}" if self.store is None else self.store.url
        self._stack.callback(self.kill_workers)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_worker(
        self, *extra: str, concurrency: int = CONCURRENCY, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a worker process; `extra` arguments follow its usual ones."""
        number = len(self._processes) + 1
        values = {"url": self.url, "number": str(number), "concurrency": str(concurrency)}
        command = [part.format(**values) for part in self.contender.worker]
        return self.start([*command, *extra], concurrency=concurrency, env=env)

    def start(
        self, command: list[str], *, concurrency: int = CONCURRENCY, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start any process of the contender; it is killed at the end of the block."""
        log = self.folder / f"process-{len(self._processes)}.log"
        process = Process(command, env={**self._env(concurrency), **(env or {})}, log=log)
        self._processes.append(process)
        return process

    def kill_workers(self) -> None:
        for process in self._processes:
            process.kill()

    def client(self, action: str, count: int) -> Any:
        """Run a producer process to its end and return what it measured.

        Raises:
            BrokenRunError: it failed.
        """
        command = [part.format(url=self.url) for part in self.contender.client]
        done = subprocess.run(
            [*command, action, str(count)],
            env=self._env(CONCURRENCY),
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise BrokenRunError(f"a producer ended with exit code {done.returncode}: {done.stderr[-1500:].strip()}")
        return json.loads(done.stdout.splitlines()[-1])

    def marks(self) -> list[Mark]:
        """Return what each worker process that ended a handler has done so far."""
        marks: list[Mark] = []
        for path in self._marks.iterdir():
            content = path.read_bytes()
            if len(content) == FORMAT.size:
                count, first, last = FORMAT.unpack(content)
                if count:
                    marks.append(Mark(count=count, first_ns=first, last_ns=last))
        return marks

    def wait(self, done: Callable[[list[Mark]], bool]) -> list[Mark]:
        """Return the marks once they satisfy `done`.

        Raises:
            BrokenRunError: a process ended, or it took too long.
        """
        end = time.monotonic() + RUN_TIMEOUT_S
        while not done(marks := self.marks()):
            for process in self._processes:
                process.check()
            if time.monotonic() > end:
                raise BrokenRunError(f"not done after {RUN_TIMEOUT_S:g} s: {marks}")
            time.sleep(POLL_S)
        return marks

    def _env(self, concurrency: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHD_")}
        return {
            **inherited,
            **self.contender.env,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}",
            "BENCH_URL": self.url,
            "BENCH_MARKS": str(self._marks),
            "BENCH_CONCURRENCY": str(concurrency),
            "BENCH_RESULTS": "1" if self._results else "0",
            **self._own_env,
        }
