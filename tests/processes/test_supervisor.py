"""The supervisor over real processes of a few lines each."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

import psutil
import pytest

from meshd.errors import ConflictError
from meshd.exit_codes import ExitCode
from meshd.runtime.child import Child, Command
from meshd.runtime.processes import HURRY, identify, running
from meshd.runtime.reports import ChildReport, ChildState, read_reports
from meshd.runtime.restarts import RestartPolicy
from meshd.runtime.state_dir import StateDir
from meshd.runtime.supervisor import Supervisor, bring_down
from tests.support.waiting import wait_until

SLEEP = "import time; time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
QUICK = RestartPolicy(first=timedelta(milliseconds=20))


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def python(name: str, code: str, **env: str) -> Command:
    return Command(name=name, argv=(sys.executable, "-c", code), cwd=Path.cwd(), env=env)


@asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncGenerator[asyncio.Task[ExitCode], None]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        supervisor.request_stop()
        await task


def pid_of(state: StateDir, name: str) -> int:
    process = running(state.pid_file(name))
    return process.pid if process else 0


def says(state: StateDir, name: str, text: str) -> bool:
    return state.log_file(name).exists() and text in state.log_file(name).read_text()


def report_of(state: StateDir, name: str) -> ChildReport | None:
    return next((report for report in read_reports(state) if report.name == name), None)


async def test_each_process_has_a_pid_file_and_a_log(state: StateDir) -> None:
    commands = [python(name, f"print('hello from {name}', flush=True); {SLEEP}") for name in ("a", "b", "c")]
    async with supervised(Supervisor(commands=commands, state=state)):
        await wait_until(lambda: all(says(state, name, f"hello from {name}\n") for name in ("a", "b", "c")))
        await wait_until(lambda: all(pid_of(state, name) for name in ("a", "b", "c")))
        pids = [pid_of(state, name) for name in ("a", "b", "c")]
        assert state.supervisor_pid.read_text() == f"{os.getpid()}\n"
    assert [identify(pid) for pid in pids] == [None, None, None]
    assert list(state.run.iterdir()) == []
    assert not state.supervisor_pid.exists()
    assert not state.fleet.exists()


async def test_a_killed_process_comes_back_under_its_name_after_its_wait(state: StateDir) -> None:
    policy = RestartPolicy(first=timedelta(milliseconds=200))
    said: list[ChildReport] = []
    supervisor = Supervisor(commands=[python("a", SLEEP)], state=state, policy=policy, say=said.append)
    async with supervised(supervisor):
        await wait_until(lambda: pid_of(state, "a"))
        first = pid_of(state, "a")
        killed_at = monotonic()
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: pid_of(state, "a") not in {0, first})
        assert monotonic() - killed_at >= 0.2
        report = report_of(state, "a")
        assert report is not None
        assert (report.state, report.restarts, report.pid) == (ChildState.RUNNING, 1, pid_of(state, "a"))
    assert [report.state for report in said[:3]] == [ChildState.RUNNING, ChildState.BACKOFF, ChildState.RUNNING]
    assert (said[1].exit_code, said[1].wait_seconds) == (-9, 0.2)


async def test_the_wait_doubles_with_each_short_life(state: StateDir) -> None:
    waits: list[float] = []

    def say(report: ChildReport) -> None:
        if report.state is ChildState.BACKOFF:
            waits.append(report.wait_seconds)
        if len(waits) == 4:
            supervisor.request_stop()

    supervisor = Supervisor(commands=[python("a", "raise SystemExit(1)")], state=state, policy=QUICK, say=say)
    await supervisor.run()
    assert waits == [0.02, 0.04, 0.08, 0.16]


@pytest.mark.parametrize(("code", "outcome"), [(0, ExitCode.OK), (2, ExitCode.FAILED)])
async def test_an_end_that_a_restart_cannot_mend_is_final(state: StateDir, code: int, outcome: ExitCode) -> None:
    said: list[ChildReport] = []
    supervisor = Supervisor(commands=[python("a", f"raise SystemExit({code})")], state=state, say=said.append)
    assert await supervisor.run() is outcome
    assert [(report.state, report.exit_code) for report in said] == [
        (ChildState.RUNNING, None),
        (ChildState.STOPPED, code),
    ]


async def test_who_does_not_listen_is_killed_after_the_grace_with_all_it_started(state: StateDir) -> None:
    family = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {DEAF}"
    supervisor = Supervisor(commands=[python("a", family)], state=state, grace=timedelta(milliseconds=300))
    async with supervised(supervisor) as task:
        await wait_until(lambda: says(state, "a", "deaf"))
        [grandchild] = psutil.Process(pid_of(state, "a")).children()
        begun = monotonic()
        supervisor.request_stop()
        await task
        assert 0.3 <= monotonic() - begun < 5
    await wait_until(lambda: identify(grandchild.pid) is None)


async def test_a_third_request_kills(state: StateDir) -> None:
    supervisor = Supervisor(commands=[python("a", DEAF)], state=state, grace=timedelta(seconds=30))
    async with supervised(supervisor) as task:
        await wait_until(lambda: says(state, "a", "deaf"))
        begun = monotonic()
        for _ in range(3):
            supervisor.request_stop()
        await task
        assert monotonic() - begun < HURRY.total_seconds()


async def test_a_process_that_was_just_being_started_is_killed_too(state: StateDir) -> None:
    supervisor = Supervisor(commands=[], state=state)
    for _ in range(3):
        supervisor.request_stop()
    child = await Child.start(python("a", DEAF), state)
    await wait_until(lambda: says(state, "a", "deaf"))
    supervisor.started(child)
    assert await child.wait() == -signal.SIGKILL


async def test_a_second_request_ends_the_grace(state: StateDir) -> None:
    supervisor = Supervisor(commands=[python("a", DEAF)], state=state, grace=timedelta(seconds=30))
    async with supervised(supervisor) as task:
        await wait_until(lambda: says(state, "a", "deaf"))
        supervisor.request_stop()
        supervisor.request_stop()
        async with asyncio.timeout(5):
            await task


async def test_a_stop_during_a_back_off_starts_nothing_more(state: StateDir) -> None:
    policy = RestartPolicy(first=timedelta(seconds=30))
    supervisor = Supervisor(commands=[python("a", "raise SystemExit(1)")], state=state, policy=policy)
    async with supervised(supervisor) as task:
        await wait_until(lambda: (report := report_of(state, "a")) and report.state is ChildState.BACKOFF)
        supervisor.request_stop()
        async with asyncio.timeout(2):
            assert await task is ExitCode.OK


async def test_a_state_folder_has_one_supervisor(state: StateDir) -> None:
    async with supervised(Supervisor(commands=[python("a", SLEEP)], state=state)):
        await wait_until(lambda: pid_of(state, "a"))
        with pytest.raises(ConflictError, match="mesh down"):
            await Supervisor(commands=[], state=state).run()
        assert pid_of(state, "a")


async def test_bringing_down_what_does_not_run_is_harmless(state: StateDir) -> None:
    assert await bring_down(state) == []
    assert await bring_down(state) == []
