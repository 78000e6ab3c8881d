"""Keeps a fleet of processes running on one machine until told to stop, and leaves none behind.

Invariants: every process it started has ended when `Supervisor.run` returns; a process that crashed comes back under
the same name after the wait that `restarts` rules; one state folder has at most one supervisor.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic, time

from meshd.exit_codes import ExitCode
from meshd.runtime.child import Child, Command
from meshd.runtime.processes import GRACE, HURRY, exclusive, pid_files, running, stop, wait_gone, write_pid_file
from meshd.runtime.reports import ChildReport, ChildState, write_reports
from meshd.runtime.restarts import Rest, Restart, RestartPolicy, after_exit
from meshd.runtime.state_dir import StateDir


def _say_nothing(report: ChildReport) -> None:
    del report


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Runs `commands`, each under its name."""

    commands: Sequence[Command]
    state: StateDir
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    grace: timedelta = GRACE
    say: Callable[[ChildReport], None] = _say_nothing
    """Told of every change."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _hurried: asyncio.Event = field(default_factory=asyncio.Event)
    _is_killing: bool = False
    _children: dict[str, Child] = field(default_factory=dict[str, Child])
    _reports: dict[str, ChildReport] = field(default_factory=dict[str, ChildReport])

    def request_stop(self) -> None:
        """Begin to stop; a second call ends the grace, a third kills."""
        if self._hurried.is_set():
            self._kill_all()
        if self.stopping.is_set():
            self._hurried.set()
        self.stopping.set()

    async def run(self) -> ExitCode:
        """Run until told to stop, or until every process has ended for good.

        Returns:
            OK, or FAILED if a process had to stay down because of an error.

        Raises:
            ConflictError: another supervisor runs on this state folder.
        """
        taken = "a supervisor runs here already; stop it with `mesh down`"
        async with exclusive(self.state.supervisor_lock, subject=taken):
            await clear_strays(self.state, grace=self.grace)
            write_pid_file(self.state.supervisor_pid, os.getpid())
            keepers = [Keeper(command=command, supervisor=self) for command in self.commands]
            try:
                async with asyncio.TaskGroup() as group:
                    ending = group.create_task(self._end_when_told())
                    await asyncio.gather(*(keeper.run() for keeper in keepers))
                    ending.cancel()
            finally:
                self.state.fleet.unlink(missing_ok=True)
                self.state.supervisor_pid.unlink(missing_ok=True)
        return ExitCode.FAILED if any(keeper.failed for keeper in keepers) else ExitCode.OK

    def started(self, child: Child) -> None:
        """Take a new process under watch."""
        self._children[child.command.name] = child
        if self._is_killing:
            child.kill()
        elif self.stopping.is_set():
            child.terminate()

    def ended(self, child: Child) -> None:
        """Forget a process that has ended."""
        del self._children[child.command.name]

    def report(self, report: ChildReport) -> None:
        """Put a change on file, and say it."""
        self._reports[report.name] = report
        write_reports(self.state, self._reports.values())
        self.say(report)

    async def _end_when_told(self) -> None:
        await self.stopping.wait()
        self._terminate_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.grace.total_seconds()):
                await self._hurried.wait()
        self._terminate_all()
        await asyncio.sleep(HURRY.total_seconds())
        self._kill_all()

    def _terminate_all(self) -> None:
        for child in self._children.values():
            child.terminate()

    def _kill_all(self) -> None:
        self._is_killing = True
        for child in self._children.values():
            child.kill()


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Runs one command, life after life."""

    command: Command
    supervisor: Supervisor
    failed: bool = False
    """It stays down because of an error."""
    _short_lives: int = 0
    _last: ChildReport = field(init=False)

    def __post_init__(self) -> None:
        self._last = ChildReport(name=self.command.name, state=ChildState.STOPPED, restarts=-1)

    async def run(self) -> None:
        """Start it again whenever it should, until it rests or the supervisor stops."""
        stopping = self.supervisor.stopping
        while not stopping.is_set():
            match await self.run_once():
                case Rest(failed=failed):
                    self.failed = failed
                    return
                case Restart(delay=delay):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(delay.total_seconds()):
                            await stopping.wait()
        self._report(replace(self._last, state=ChildState.STOPPED, wait_seconds=0.0))

    async def run_once(self) -> Rest | Restart:
        """Live one life; return what follows it."""
        born = monotonic()
        code = await self._live()
        ended = replace(self._last, state=ChildState.STOPPED, pid=0, exit_code=code)
        if self.supervisor.stopping.is_set():
            self._report(ended)
            return Rest(failed=False)
        verdict = after_exit(
            code,
            lived=timedelta(seconds=monotonic() - born),
            short_lives=self._short_lives,
            policy=self.supervisor.policy,
        )
        if isinstance(verdict, Restart):
            self._short_lives = verdict.short_lives
            ended = replace(ended, state=ChildState.BACKOFF, wait_seconds=verdict.delay.total_seconds())
        self._report(ended)
        return verdict

    async def _live(self) -> int:
        """Start the process and return its exit code; it has ended even if this is cancelled."""
        child = await Child.start(self.command, self.supervisor.state)
        self.supervisor.started(child)
        self._report(
            replace(
                self._last,
                state=ChildState.RUNNING,
                pid=child.pid,
                started_at=time(),
                restarts=self._last.restarts + 1,
                wait_seconds=0.0,
            )
        )
        try:
            return await child.wait()
        finally:
            self.supervisor.ended(child)

    def _report(self, report: ChildReport) -> None:
        self._last = report
        self.supervisor.report(report)


async def clear_strays(state: StateDir, *, grace: timedelta) -> list[str]:
    """End nodes whose supervisor died and left them; return their names."""
    found = pid_files(state.run)
    strays = {name: process for name, process in found.items() if process is not None}
    await stop(strays.values(), grace=grace)
    for name in found:
        state.pid_file(name).unlink(missing_ok=True)
    return list(strays)


async def bring_down(state: StateDir, *, grace: timedelta = GRACE) -> list[str]:
    """End the supervisor of `state` and every node it started; return what was ended. Harmless when nothing runs."""
    names = [name for name, process in pid_files(state.run).items() if process is not None]
    supervisor = running(state.supervisor_pid)
    if supervisor is not None:
        for patience in (grace, HURRY + timedelta(seconds=2)):
            supervisor.send(signal.SIGTERM)
            await wait_gone([supervisor], timeout=patience)
        supervisor.send(signal.SIGKILL)
    await clear_strays(state, grace=grace)
    state.supervisor_pid.unlink(missing_ok=True)
    state.fleet.unlink(missing_ok=True)
    return names
