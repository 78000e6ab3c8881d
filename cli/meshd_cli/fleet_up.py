"""`mesh up` and `mesh down`: one supervisor per state folder, in this terminal or behind it."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from meshd.errors import ConflictError, MeshError
from meshd.exit_codes import ExitCode
from meshd.mesh import Mesh
from meshd.nodes.model import Node
from meshd.runtime.arrivals import wait_visible
from meshd.runtime.child import Command
from meshd.runtime.fleet import Fleet, load_fleet
from meshd.runtime.local import NodeStartError, said_since, size_of, spawn
from meshd.runtime.logfiles import tail
from meshd.runtime.processes import running
from meshd.runtime.reports import ChildReport, ChildState, read_reports
from meshd.runtime.state_dir import StateDir
from meshd.runtime.supervisor import Supervisor, bring_down
from meshd.runtime.tether import tether
from meshd_cli import render
from meshd_cli.machine import require_enabled, state_of
from meshd_cli.node_process import environment, start_command, words_of
from meshd_cli.session import Session

UP_LOG = "_supervisor"
"""Name of a detached supervisor's log; no node can have it."""
EXPLICIT = ("argument", "environment")
"""Sources of a setting that win over mesh.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `mesh up` is about to run."""

    file: Path
    state: StateDir
    commands: Sequence[Command]
    grace: timedelta


def plan(session: Session, file: Path, *, grace: timedelta) -> Plan:
    """Read the fleet file and let it decide url and mesh, where no flag and no environment variable does.

    Raises:
        ConfigurationError: the file cannot be used, or the mesh is disabled here.
    """
    require_enabled(session)
    fleet = load_fleet(file)
    _apply(session, fleet)
    state = state_of(session.settings)
    commands = [
        start_command(
            words_of(spec, folder=file.resolve().parent),
            session,
            "--lifeline",
            f"--log-file={state.log_file(spec.name)}",
            verb=("node", "start") if spec.plays is None else ("role", "start", spec.plays),
            env=_with_folder(spec.environment(), file.resolve().parent),
        )
        for spec in fleet.processes()
    ]
    return Plan(file=file, state=state, commands=commands, grace=grace)


def up(plan: Plan, *, log: Path | None) -> ExitCode:
    """Supervise in this process until told to end; `log` is the file its own output goes to, if any."""
    if log is not None:
        tether(lifeline=None, log=log)
    return asyncio.run(_supervise(plan))


def up_detached(session: Session, plan: Plan, *, timeout: timedelta) -> list[Node]:
    """Start a supervisor that outlives this process; return the nodes' records once the mesh sees all of them.

    Raises:
        ConflictError: a supervisor runs here already.
        NodeStartError: the supervisor or a node ended first; nothing is left running.
        DeadlineError: some node was not seen in time; nothing is left running.
    """
    if running(plan.state.supervisor_pid) is not None:
        raise ConflictError("a supervisor runs here already; stop it with `mesh down`")
    log = plan.state.log_file(UP_LOG)
    argv = (sys.executable, "-m", "meshd_cli.main", "up", f"--file={plan.file}", f"--log-file={log}")
    command = Command(name=UP_LOG, argv=(*argv, f"--grace={plan.grace.total_seconds()}"), cwd=Path.cwd())
    return asyncio.run(_start_detached(session, plan, command, timeout=timeout))


def down(session: Session, *, grace: timedelta) -> list[str]:
    """End the supervisor of this state folder and its nodes; return the names of those that ran."""
    return asyncio.run(bring_down(state_of(session.settings), grace=grace))


async def _supervise(plan: Plan) -> ExitCode:
    supervisor = Supervisor(commands=plan.commands, state=plan.state, grace=plan.grace, say=_Speaker(plan.state).say)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, supervisor.request_stop)
    return await supervisor.run()


async def _start_detached(session: Session, plan: Plan, command: Command, *, timeout: timedelta) -> list[Node]:
    state, names = plan.state, [node.name for node in plan.commands]
    log = state.log_file(UP_LOG)
    sizes = {name: size_of(state.log_file(name)) for name in (UP_LOG, *names)}
    process = spawn(Command(name=UP_LOG, argv=command.argv, cwd=command.cwd, env=environment(session)), log)

    def ended(name: str, exit_code: int) -> NodeStartError:
        path = state.log_file(name)
        return NodeStartError(name, exit_code=exit_code, log=path, lines=said_since(path, sizes[name]))

    def expected() -> Mapping[str, int]:
        reports = {report.name: report for report in read_reports(state)}
        for report in reports.values():
            if report.state is ChildState.STOPPED and report.exit_code:
                raise ended(report.name, report.exit_code)
        exit_code = process.poll()
        if exit_code is not None:
            raise ended(UP_LOG, exit_code)
        return {name: reports[name].pid if name in reports else 0 for name in names}

    try:
        async with Mesh(settings=session.settings) as mesh:
            return await wait_visible(mesh, expected, timeout=timeout)
    except (MeshError, asyncio.CancelledError):
        process.terminate()
        await asyncio.to_thread(process.wait)
        await bring_down(state, grace=plan.grace)
        raise


def _apply(session: Session, fleet: Fleet) -> None:
    """Put the file's url and mesh into the session, below flags and environment."""
    sources = session.settings.sources()
    given = {"url": fleet.url, "mesh": fleet.mesh}
    decided = {key: value for key, value in given.items() if value and not sources[key].startswith(EXPLICIT)}
    for key, value in decided.items():
        setattr(session, key, value)
    if decided:
        del session.settings


def _with_folder(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Let a node import the modules that lie beside its mesh.yaml."""
    others = env.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    return {**env, "PYTHONPATH": os.pathsep.join(part for part in (str(folder), others) if part)}


class _Speaker:
    """Tells the terminal what happens to the nodes."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def say(self, report: ChildReport) -> None:
        match report.state:
            case ChildState.RUNNING:
                again = f" again (restart {report.restarts})" if report.restarts else ""
                render.note(f"{report.name} started{again}, process {report.pid}")
            case ChildState.BACKOFF:
                render.note(
                    f"{report.name} ended with code {report.exit_code}; starts again in {report.wait_seconds:g} s"
                )
            case ChildState.STOPPED:
                render.note(f"{report.name} stopped{self._cause(report)}")

    def _cause(self, report: ChildReport) -> str:
        if not report.exit_code or report.exit_code < 0:
            return ""
        last = tail(self._state.log_file(report.name), lines=1)
        return f" with code {report.exit_code}: {last[0] if last else 'it said nothing'}"
