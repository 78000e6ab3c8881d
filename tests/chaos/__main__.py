"""`python -m tests.chaos --backend redis --tasks 20000 --kills 30 --redis-kills 2 --seed 7`: one run, its table.

Exit code 1 on any violation; then the processes' logs and traces stay where the last line says.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Run, carry_out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill nodes and check the history.")
    parser.add_argument("--backend", choices=["sqlite", "redis"], default="redis")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=30, help="how many node processes to kill")
    parser.add_argument("--redis-kills", type=int, default=0, help="how often to kill redis-server (Redis only)")
    parser.add_argument("--freezes", type=int, default=0, help="how often to stop a node process until it is a zombie")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=8, help="tasks a node runs at once")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for the work")
    given = parser.parse_args()
    if given.redis_kills and given.backend != "redis":
        parser.error("--redis-kills needs --backend redis")
    run = Run(
        backend=given.backend,
        tasks=given.tasks,
        kills=given.kills,
        store_kills=given.redis_kills,
        freezes=given.freezes,
        seed=given.seed,
        nodes=given.nodes,
        concurrency=given.concurrency,
        timeout_s=given.timeout,
    )
    directory = Path(tempfile.mkdtemp(prefix="meshd-chaos-"))
    outcome = asyncio.run(carry_out(run, directory))
    sys.stdout.write(outcome.table() + "\n")
    if outcome.violations:
        sys.stdout.write(f"logs and traces: {directory}\n")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
