"""Who is measured, in which version, and the command lines of each."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lab.environments import AbsentError, node_environment, python_environment

ROOT = Path(__file__).resolve().parents[2]
MESHD, SQLITE, BARE, BULLMQ, TASKIQ = "meshd", "meshd on SQLite", "bare", "bullmq", "taskiq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One system, ready to run here. In a command, `{url}`, `{number}` and `{concurrency}` are filled in."""

    name: str
    version: str
    worker: tuple[str, ...]
    """One worker process as its users start it."""
    client: tuple[str, ...]
    """A producer; what it is to do follows."""
    tasks: int
    """How many make a run of some seconds."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    on_redis: bool = True


def _project(name: str, *, module: str, tasks: int, on_redis: bool = True) -> Contender:
    worker = ("{url}", "w{number}", "{concurrency}") if module == "meshd" else ("{url}",)
    return Contender(
        name=name,
        version="this tree" if module == "meshd" else "redis-py",
        worker=(sys.executable, "-m", f"benchmarks.peers.{module}_peer", *worker),
        client=(sys.executable, "-m", "benchmarks.peers.client", module, "{url}"),
        tasks=tasks,
        on_redis=on_redis,
    )


def _python_peer(name: str, *, worker: Sequence[str], packages: Sequence[str], tasks: int) -> Contender:
    programs = python_environment(packages) / "bin"
    return Contender(
        name=name,
        version=packages[0].partition("==")[2],
        worker=(str(programs / worker[0]), *worker[1:]),
        client=(str(programs / "python"), "-m", "benchmarks.peers.client", name, "{url}"),
        tasks=tasks,
    )


def _bullmq() -> Contender:
    packages = ("bullmq@6.7.0", "ioredis@6.0.0")
    modules = node_environment(packages) / "node_modules"
    script = str(ROOT / "benchmarks" / "peers" / "bullmq_peer.cjs")
    return Contender(
        name=BULLMQ,
        version="6.7.0",
        worker=(shutil.which("node") or "node", script, "worker"),
        client=(shutil.which("node") or "node", script, "client"),
        tasks=60_000,
        env={"NODE_PATH": str(modules)},
    )


DRIVER = ("redis==8.1.0", "hiredis==3.5.0")

PEERS: Mapping[str, Callable[[], Contender]] = {
    BARE: lambda: _project(BARE, module="bare", tasks=150_000),
    BULLMQ: _bullmq,
    TASKIQ: lambda: _python_peer(
        TASKIQ,
        worker=(
            "taskiq", "worker", "benchmarks.peers.taskiq_peer:broker",
            "--workers", "1", "--max-async-tasks", "{concurrency}", "--log-level", "WARNING",
        ),
        packages=("taskiq==0.13.0", "taskiq-redis==1.2.4", "uvloop==0.23.0", *DRIVER),
        tasks=20_000,
    ),
    "huey": lambda: _python_peer(
        "huey",
        worker=("huey_consumer", "benchmarks.peers.huey_peer.huey", "-w", "1", "-q"),
        packages=("huey==3.5.4", *DRIVER),
        tasks=15_000,
    ),
    "saq": lambda: _python_peer(
        "saq",
        worker=("saq", "benchmarks.peers.saq_peer.settings", "-q"),
        packages=("saq==0.26.4", "redis==7.4.1", "hiredis==3.5.0", "typing_extensions"),
        tasks=10_000,
    ),
    "rq": lambda: _python_peer(
        "rq",
        worker=("rq", "worker", "--url", "{url}", "--worker-class", "rq.worker.SimpleWorker", "--quiet"),
        packages=("rq==2.12.0", *DRIVER),
        tasks=1_500,
    ),
}  # fmt: skip
"""By the name given on the command line, each made on demand: that may install it."""


def ours() -> list[Contender]:
    return [
        _project(MESHD, module="meshd", tasks=60_000),
        _project(SQLITE, module="meshd", tasks=15_000, on_redis=False),
    ]


def gather(names: Sequence[str]) -> tuple[list[Contender], dict[str, str]]:
    """Return meshd and the peers that can be measured here, and for each of the others why not."""
    present, absent = ours(), dict[str, str]()
    for name in names:
        try:
            present.append(PEERS[name]())
        except AbsentError as exc:
            absent[name] = str(exc)
    return present, absent
