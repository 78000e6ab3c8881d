"""The task queue beside its peers: whole processes, interleaved rounds, medians, and the goals it is held to.

`python -m benchmarks.tasks` prints a table in Markdown on stdout and what goes on on stderr. Peers are installed on
first use, each in an environment of its own; one that cannot be is named as absent. See docs/benchmarks.md.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from benchmarks.lab.contenders import BARE, PEERS, gather
from benchmarks.lab.report import Section, goals, markdown
from benchmarks.lab.rounds import Lab, say
from benchmarks.measures import cluster, cost, durability, latency, memory, recovery, submit, throughput, waiters

MEASURES: Mapping[str, Callable[[Lab], Section]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "submit": submit.measure,
    "memory": memory.measure,
    "waiters": waiters.measure,
    "cost": cost.measure,
    "durability": durability.measure,
    "recovery": recovery.measure,
    "cluster": cluster.measure,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description="The task queue beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many rounds (5)")
    parser.add_argument("--peers", type=_names(PEERS), default=[*PEERS], help=f"some of {','.join(PEERS)}, or nobody")
    parser.add_argument("--only", type=_names(MEASURES), default=[*MEASURES], help=f"some of {','.join(MEASURES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the runs; 0.1 is a smoke test")
    parser.add_argument("--big", action="store_true", help="measure the cost of a claim up to 1,000,000 queued tasks")
    return parser.parse_args()


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known and name != "nobody":
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return [name for name in names if name in known]

    return parse


def machine() -> dict[str, Any]:
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "redis": next(word[2:] for word in redis.split() if word.startswith("v=")),
        "redis-py": version("redis"),
    }


def noise(sections: Sequence[Section]) -> str:
    """Say how far the bare loop, which never changes, moved between rounds."""
    for row in (row for section in sections for row in section.rows):
        found = row.values.get(BARE, ())
        if len(found) > 1:
            spread = (max(found) - min(found)) / median(found)
            return f"Noise of the machine: {row.name} of the bare loop moved by {spread:.0%} between rounds."
    return "Noise of the machine: not known, the bare loop was not measured over several rounds."


def introduction(lab: Lab, absent: Mapping[str, str], about: Mapping[str, Any]) -> str:
    """Say where this was measured, in which versions, and who is missing."""
    versions = ", ".join(f"{contender.name} {contender.version}" for contender in lab.contenders)
    where = f"{about['cpus']} CPUs ({about['machine']}), load {about['load'][0]} at the start"
    how = f"Medians of {lab.rounds} interleaved rounds, smallest and largest in brackets."
    size = "" if lab.scale == 1 else f" Runs of {lab.scale:g} times the usual size."
    lines = [f"{where}; Redis {about['redis']}, Python {about['python']}; {versions}.", how + size]
    return "\n".join([*lines, *(f"Absent: {name}: {reason}" for name, reason in absent.items())])


def document(sections: Sequence[Section], **about: Any) -> str:
    return json.dumps({"schema_version": 1, **about, "sections": [asdict(section) for section in sections]}, indent=2)


def _leave(_number: int, _frame: object) -> NoReturn:
    """End as by an exception, so that every process started here is ended too."""
    sys.exit(1)


def main() -> None:
    signal.signal(signal.SIGTERM, _leave)
    wanted, about = arguments(), machine()
    contenders, absent = gather(wanted.peers)
    for name, reason in absent.items():
        say(f"absent: {name}: {reason}")
    lab = Lab(contenders=contenders, rounds=wanted.rounds, scale=wanted.scale, big=wanted.big)
    sections: list[Section] = []
    try:
        sections.extend(MEASURES[name](lab) for name in wanted.only)
    finally:
        print(introduction(lab, absent, about), noise(sections), goals(sections), markdown(sections), sep="\n\n")
        if wanted.json is not None:
            versions = {contender.name: contender.version for contender in contenders}
            wanted.json.write_text(document(sections, machine=about, versions=versions, absent=absent))


if __name__ == "__main__":
    main()
