"""Logs: bounded, lossless, and followed across their turns."""

import subprocess
import sys
from collections import deque
from functools import partial
from itertools import islice
from pathlib import Path

from meshd.runtime.logfiles import follow, older, open_log, tail, turn_if_full

CHATTER = """
import sys
from pathlib import Path
from meshd.runtime.logfiles import turn_if_full
for number in range(300):
    print(f"line {number:04}", flush=True)
    turn_if_full(Path(sys.argv[1]), limit=2000)
"""


def test_a_process_turns_its_own_log_and_loses_no_line_of_the_last_two_files(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    with open_log(path) as log:
        subprocess.run([sys.executable, "-c", CHATTER, str(path)], stdout=log, stderr=log, check=True)
    assert path.stat().st_size <= 2100
    assert older(path).stat().st_size <= 2100
    assert tail(path, lines=250) == [f"line {number:04}" for number in range(50, 300)]
    assert sorted(tmp_path.iterdir()) == [path, older(path)]


def test_a_log_that_is_not_full_is_left_alone(tmp_path: Path) -> None:
    with open_log(tmp_path / "n1.log") as log:
        log.write(b"short\n")
        assert not turn_if_full(tmp_path / "n1.log", outputs=(log.fileno(),))
    assert not older(tmp_path / "n1.log").exists()


def test_a_full_log_is_turned_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    path.write_text("old\n" * 10)
    with open_log(path, limit=10) as log:
        log.write(b"new\n")
    assert (path.read_text(), older(path).read_text()) == ("new\n", "old\n" * 10)


def test_following_starts_with_the_last_lines_and_crosses_a_turn(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    path.write_text("one\ntwo\nthree\n")
    steps = deque(
        [
            partial(append, path, "fo"),
            partial(append, path, "ur\n"),
            partial(rename, path, older(path)),
            partial(append, older(path), "five\n"),
            partial(append, path, "six\n"),
        ]
    )

    def step() -> None:
        if steps:
            steps.popleft()()

    lines = follow(path, lines=2, wait=step)
    assert list(islice(lines, 5)) == ["two", "three", "four", "five", "six"]


def rename(path: Path, target: Path) -> None:
    path.rename(target)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
