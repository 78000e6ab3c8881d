"""The shared memory beside what it replaces: interleaved rounds, medians, and the goals it is held to.

`python -m benchmarks.memory` prints tables in Markdown on stdout and what goes on on stderr. See docs/benchmarks.md.
"""

import argparse
from collections.abc import Callable, Mapping

from benchmarks.lab.report import Section, goals, markdown
from benchmarks.lab.rounds import say
from benchmarks.memories import appends, finding, healing, hub, reads, spread, undoing

MEASURES: Mapping[str, Callable[[int, float], Section]] = {
    "hub": hub.measure,
    "reads": reads.measure,
    "spread": spread.measure,
    "finding": finding.measure,
    "healing": healing.measure,
    "undoing": undoing.measure,
    "appends": appends.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="The shared memory, measured.")
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many rounds (5)")
    parser.add_argument("--only", default=",".join(MEASURES), help=f"some of {','.join(MEASURES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the runs; 0.1 is a smoke test")
    wanted = parser.parse_args()
    names = [name for name in wanted.only.split(",") if name]
    for name in names:
        if name not in MEASURES:
            parser.error(f"{name!r} is not one of {', '.join(MEASURES)}")
    sections: list[Section] = []
    for name in names:
        say(f"measuring: {name}")
        sections.append(MEASURES[name](wanted.rounds, wanted.scale))
    print(goals(sections), markdown(sections), sep="\n\n")


if __name__ == "__main__":
    main()
