"""How much is measured, and the rounds: every system once per round, so that a slow minute meets them all."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import redis

from benchmarks.lab.contenders import Contender
from benchmarks.lab.processes import BrokenRunError
from meshd.errors import MeshError

T = TypeVar("T")
BREAKS = (BrokenRunError, MeshError, redis.RedisError, OSError, TimeoutError, subprocess.SubprocessError)
"""What ends one run, not the benchmark."""
SMALLEST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What one run of the benchmark is about."""

    contenders: Sequence[Contender]
    rounds: int
    scale: float
    big: bool

    def count(self, full: int) -> int:
        return max(SMALLEST, int(full * self.scale))

    def named(self, *names: str) -> list[Contender]:
        """Return those of these contenders that are here."""
        return [contender for contender in self.contenders if contender.name in names]

    def interleaved(
        self, what: str, run: Callable[[Contender], T], *, contenders: Sequence[Contender] | None = None
    ) -> dict[str, list[T]]:
        """Return what `run` gave for each contender, in every round; a run that broke is reported and left out."""
        answers: dict[str, list[T]] = {}
        for number in range(1, self.rounds + 1):
            for contender in self.contenders if contenders is None else contenders:
                answer = attempt(f"{what}, round {number}", run, contender)
                if answer is not None:
                    answers.setdefault(contender.name, []).append(answer)
        return answers


def attempt(what: str, run: Callable[[Contender], T], contender: Contender) -> T | None:
    """Return what `run` gives for a contender; a run that breaks is reported and gives nothing."""
    say(f"{what}: {contender.name}")
    try:
        return run(contender)
    except BREAKS as exc:
        say(f"{what}: {contender.name} BROKE: {type(exc).__name__}: {exc}")
        return None


def say(text: str) -> None:
    """Tell the person what goes on."""
    print(text, file=sys.stderr, flush=True)
