"""`python -m tests.simulator [FIRST] [COUNT]`: run schedules; print the whole trace of each that breaks a promise."""

import logging
import sys

from tests.simulator.schedule import simulate


def main(first: str = "0", count: str = "1000") -> int:
    logging.disable(logging.WARNING)
    broken = 0
    for seed in range(int(first), int(first) + int(count)):
        verdict = simulate(seed)
        if verdict.breaches:
            broken += 1
            sys.stdout.write(f"{verdict}\n")
    sys.stdout.write(f"{count} schedules, {broken} broke a promise\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
