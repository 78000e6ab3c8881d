"""PID files: a process that is not the one on file is never taken for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshd.errors import ConflictError
from meshd.runtime.processes import ProcessRef, exclusive, identify, pid_files, recorded, running, stop, write_pid_file

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"

Sleeper = subprocess.Popen[bytes]


def start(code: str) -> Sleeper:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    process = start(SLEEPER)
    yield process
    process.kill()
    process.wait()


def test_the_file_holds_the_pid_and_nothing_else(tmp_path: Path, sleeper: Sleeper) -> None:
    path = tmp_path / "run" / "n1.pid"
    assert write_pid_file(path, sleeper.pid) == running(path)
    assert path.read_text() == f"{sleeper.pid}\n"
    assert pid_files(path.parent) == {"n1": running(path)}


def test_a_reused_pid_is_a_stranger(tmp_path: Path, sleeper: Sleeper) -> None:
    path = tmp_path / "n1.pid"
    write_pid_file(path, sleeper.pid)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert running(path) is None
    stranger = recorded(path)
    assert stranger is not None
    stranger.send(signal.SIGKILL)
    assert sleeper.poll() is None


def test_an_ended_process_is_not_running_even_before_it_is_reaped(tmp_path: Path, sleeper: Sleeper) -> None:
    path = tmp_path / "n1.pid"
    write_pid_file(path, sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert running(path) is None


@pytest.mark.parametrize("content", ["", "not a pid", "99999999999999999999"])
def test_a_damaged_file_is_no_process(tmp_path: Path, content: str) -> None:
    path = tmp_path / "n1.pid"
    path.write_text(content)
    assert running(path) is None


async def test_stopping_kills_only_those_that_do_not_listen(sleeper: Sleeper) -> None:
    deaf = start(DEAF)
    both = [identify(sleeper.pid), identify(deaf.pid)]
    processes = [process for process in both if process is not None]
    killed = await stop(processes, grace=timedelta(milliseconds=300))
    assert {process.pid for process in killed} == {deaf.pid}
    assert (sleeper.wait(), deaf.wait()) == (-signal.SIGTERM, -signal.SIGKILL)


async def test_stopping_what_has_gone_is_harmless() -> None:
    assert await stop([ProcessRef(2**22 + 1, 0.0)], grace=timedelta(seconds=1)) == frozenset()


async def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    async with exclusive(tmp_path / "lock", subject="first"):
        with pytest.raises(ConflictError, match="second"):
            async with exclusive(tmp_path / "lock", subject="second"):
                pass
    async with exclusive(tmp_path / "lock", subject="third"):
        pass
