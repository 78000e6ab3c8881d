"""`python -m tests.memory --schedules N [--first SEED]`: run schedules; print the whole trace of each that fails."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.memory.schedule import Verdict, simulate

SHARE = 250
"""Schedules one process takes at a time."""


def main() -> int:
    """Run the schedules on as many processes as asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.memory", description="Seeded lives of a shared memory.")
    parser.add_argument("--schedules", type=int, default=3_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    chosen = parser.parse_args()
    end = chosen.first + chosen.schedules
    shares = [range(at, min(at + SHARE, end)) for at in range(chosen.first, end, SHARE)]
    failed = 0
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for verdicts in pool.map(_failures, shares):
            failed += len(verdicts)
            sys.stdout.writelines(f"{verdict}\n" for verdict in verdicts)
    sys.stdout.write(f"{chosen.schedules} schedules, {failed} failed\n")
    return 1 if failed else 0


def _failures(seeds: range) -> list[Verdict]:
    return [verdict for seed in seeds if (verdict := simulate(seed)).breaches]


if __name__ == "__main__":
    sys.exit(main())
