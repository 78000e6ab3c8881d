"""A wall clock that a test may move, for the Python processes it starts. Monotonic time goes on as it does."""

import os
from collections.abc import Mapping
from pathlib import Path

_PATCH = """
import time

true_ns = time.time_ns

def false_ns():
    with open({file!r}) as offset:
        return true_ns() + int(offset.read()) * 1_000_000_000

time.time_ns = false_ns
time.time = lambda: false_ns() / 1_000_000_000
"""


class FalseTime:
    """The wall clock of the processes started with its environment, before they import anything."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "false-time"
        self._folder.mkdir()
        self._file = self._folder / "offset"
        self.jump(0)
        (self._folder / "sitecustomize.py").write_text(_PATCH.format(file=str(self._file)))

    @property
    def environment(self) -> Mapping[str, str]:
        paths = [str(self._folder), *filter(None, [os.environ.get("PYTHONPATH", "")])]
        return {"PYTHONPATH": os.pathsep.join(paths)}

    def jump(self, seconds: int) -> None:
        """Set the clock so far from the true time, at once and as a whole."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)
