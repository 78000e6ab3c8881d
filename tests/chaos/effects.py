"""What handlers did, in a file per process: each line is one write, so what a killed process wrote stays whole."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.chaos.history import Effect, Phase


class EffectLog:
    """One process's own file. Calls may come from any thread."""

    def __init__(self, directory: Path, *, life: str) -> None:
        self._life = life
        self._file = os.open(path_of(directory, life=life), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, phase: Phase, *, task_id: str, token: int, attempt: int) -> None:
        """Append one line; when this returns, it survives this process."""
        effect = Effect(
            phase=phase,
            task_id=task_id,
            token=token,
            attempt=attempt,
            life=self._life,
            pid=os.getpid(),
            at_ms=time.time_ns() // 1_000_000,
        )
        os.write(self._file, msgspec.json.encode(effect) + b"\n")


def path_of(directory: Path, *, life: str) -> Path:
    return directory / f"{life}.effects"


def read_effects(directory: Path) -> Iterator[Effect]:
    """Yield what every process wrote, each in its own order; a line cut short by a kill is left out."""
    for path in sorted(directory.glob("*.effects")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield msgspec.json.decode(line, type=Effect)
