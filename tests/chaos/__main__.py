"""`python -m tests.chaos --suite full --backend both`: kill nodes and the store, check the history.

`--suite` chooses the numbers of a run, and any of them can be given instead. Prints each run's table, then all of them
as Markdown. Exit code 1 on any violation; then the processes' logs and traces stay where the last line says.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.chaos.outcome import Outcome, markdown
from tests.chaos.run import Run, carry_out
from tests.chaos.suites import SUITES

NUMBERS: Mapping[str, str] = {
    "tasks": "how many tasks to submit",
    "kills": "how many node processes to kill",
    "redis-kills": "how often to kill redis-server (Redis only)",
    "freezes": "how often to stop a node process until it is a zombie",
    "leaves": "how often to ask a node process to leave",
    "nodes": "node processes",
    "concurrency": "tasks a node runs at once",
    "seed": "draws tasks, kills and victims",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--suite", choices=sorted(SUITES), default="slow")
    parser.add_argument("--backend", choices=["sqlite", "redis", "both"], default="redis")
    for name, meaning in NUMBERS.items():
        field = "store_kills" if name == "redis-kills" else name
        parser.add_argument(f"--{name}", type=int, dest=field, help=meaning)
    parser.add_argument("--lost-answers", type=float, help="share of answers to nodes cut off on the way (Redis only)")
    parser.add_argument("--fsync", choices=["everysec", "always"], help="when Redis syncs its append-only file")
    parser.add_argument("--timeout", type=float, dest="timeout_s", help="seconds for the work")
    given = vars(parser.parse_args())
    suite, backend = given.pop("suite"), given.pop("backend")
    changes = {name: value for name, value in given.items() if value is not None}
    backends = ["redis", "sqlite"] if backend == "both" else [backend]
    outcomes = [_carry_out(replace(SUITES[suite](one), **changes)) for one in backends]
    sys.stdout.write(f"\n{markdown(outcomes)}\n")
    return int(any(outcome.violations for outcome in outcomes))


def _carry_out(run: Run) -> Outcome:
    directory = Path(tempfile.mkdtemp(prefix="meshd-chaos-"))
    outcome = asyncio.run(carry_out(run, directory))
    sys.stdout.write(outcome.table() + "\n")
    if outcome.violations:
        sys.stdout.write(f"logs and traces: {directory}\n")
    else:
        shutil.rmtree(directory)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
