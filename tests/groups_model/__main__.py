"""`python -m tests.groups_model --seeds 10000 [--first N]`: play histories; print each that breaks a rule, whole."""

import argparse
import logging
import sys
import time

from tests.groups_model.history import play


def main(first: int, seeds: int) -> int:
    logging.disable(logging.CRITICAL)
    begun_s, broken = time.process_time(), 0
    for seed in range(first, first + seeds):
        verdict = play(seed)
        if verdict.breaches:
            broken += 1
            sys.stdout.write(f"{verdict}\n")
            sys.stdout.flush()
    took_s = (time.process_time() - begun_s) * 100 / max(1, seeds)
    sys.stdout.write(f"{seeds} histories, {broken} broke a rule; {took_s:.1f} s of work per 100\n")
    return 1 if broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.groups_model", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.first, arguments.seeds))
