"""What the commands about this machine's processes do; the commands themselves only parse and print."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any

from meshd.errors import ConfigurationError, MeshError, NotFoundError
from meshd.exit_codes import ExitCode
from meshd.mesh import Mesh
from meshd.nodes.model import Node
from meshd.runtime import local
from meshd.runtime.entry import Ties, run_node
from meshd.runtime.local import Disabled, Enabled, LocalNode, local_node
from meshd.runtime.logfiles import follow, tail
from meshd.runtime.processes import running
from meshd.runtime.reports import ChildReport, ChildState, read_reports
from meshd.runtime.state_dir import StateDir
from meshd.settings import Settings
from meshd_cli import render
from meshd_cli.node_process import NodeWords, build_node, start_command
from meshd_cli.session import Session


def state_of(settings: Settings) -> StateDir:
    """Return the folder of this machine's processes."""
    return StateDir(Path(settings.state_dir).resolve())


def start(session: Session, words: NodeWords, ties: Ties, *, settings: Settings | None = None) -> ExitCode:
    """Be a node until told to end, with other settings than the session's if given; return the process's exit code.

    Raises:
        ConfigurationError: the mesh is disabled here, or the module cannot be used.
    """
    require_enabled(session)
    settings = settings or session.settings
    node = build_node(words, settings)
    try:
        run_node(node, settings=settings, ties=ties, verbose=session.debug or session.verbose)
    except MeshError as exc:
        render.error(exc, debug=session.debug)
        return exc.exit_code
    return ExitCode.OK


def require_enabled(session: Session) -> None:
    """Raise `ConfigurationError` if the settings say that this machine keeps away from the mesh."""
    if not session.settings.enabled:
        source = session.settings.sources()["enabled"]
        raise ConfigurationError(f"the mesh is disabled here: enabled is false ({source}); `mesh enable` turns it on")


def enable(session: Session, words: NodeWords, *, timeout: timedelta) -> Enabled:
    """Start this machine's node and return when the mesh sees it."""
    settings, state = session.settings, state_of(session.settings)

    async def work() -> Enabled:
        return await local.enable(
            Mesh(settings=settings),
            state,
            launch=lambda name: start_command(
                words.named(name), session, f"--log-file={state.log_file(name)}", enabled=True
            ),
            name=words.name or settings.node_name or None,
            timeout=timeout,
        )

    return asyncio.run(work())


def disable(session: Session, *, grace: timedelta) -> Disabled:
    """End this machine's node and return when the mesh no longer knows it."""
    return asyncio.run(local.disable(Mesh(settings=session.settings), state_of(session.settings), grace=grace))


def logs(session: Session, name: str, *, lines: int, is_followed: bool, show: Callable[[str], None]) -> None:
    """Show the end of a process's log, and what is added to it until interrupted.

    Raises:
        NotFoundError: no process of this name has a log here.
    """
    state = state_of(session.settings)
    path = state.log_file(name)
    if not path.exists():
        known = ", ".join(sorted(log.stem for log in state.logs.glob("*.log"))) or "none yet"
        raise NotFoundError(f"no log of {name!r} in {state.logs}; there are: {known}")
    for line in follow(path, lines=lines) if is_followed else tail(path, lines=lines):
        show(line)


def processes(session: Session) -> dict[str, Any]:
    """Return this machine's processes: supervised ones, and its own node."""
    state = state_of(session.settings)
    reports = _supervised(state)
    own = local_node(state)
    if own is not None:
        reports.append(_as_report(own))
    verdicts = asyncio.run(_verdicts(session, [report.name for report in reports]))
    supervisor = running(state.supervisor_pid)
    return {
        "kind": "processes",
        "supervisor": None if supervisor is None else supervisor.pid,
        "processes": [
            _row(report, verdict=verdicts.get(report.name), is_local=own is not None and report.name == own.name)
            for report in reports
        ],
    }


def _supervised(state: StateDir) -> list[ChildReport]:
    """Return the supervisor's reports; where it has died, corrected by what still runs."""
    reports = read_reports(state)
    if running(state.supervisor_pid) is not None:
        return reports
    strays = [(report, running(state.pid_file(report.name))) for report in reports]
    return [
        ChildReport(
            name=report.name,
            state=ChildState.STOPPED if stray is None else ChildState.RUNNING,
            pid=0 if stray is None else stray.pid,
            restarts=report.restarts,
            started_at=report.started_at,
            exit_code=report.exit_code,
        )
        for report, stray in strays
    ]


def _as_report(own: LocalNode) -> ChildReport:
    return ChildReport(name=own.name, state=ChildState.RUNNING, pid=own.process.pid, started_at=own.process.started)


async def _verdicts(session: Session, names: list[str]) -> Mapping[str, str]:
    """Return what the mesh concludes about each node it knows; nothing when the store cannot be asked."""
    if not names or not session.is_enabled:
        return {}
    try:
        async with asyncio.timeout(2), Mesh(settings=session.settings) as mesh:
            found: list[Node | None] = [await mesh.backend.nodes.get(name) for name in names]
    except (MeshError, TimeoutError):
        return {}
    return {node.id: node.verdict.value for node in found if node is not None}


def _row(report: ChildReport, *, verdict: str | None, is_local: bool) -> dict[str, Any]:
    is_running = report.state is ChildState.RUNNING
    return {
        "name": report.name,
        "pid": report.pid or None,
        "state": report.state.value,
        "restarts": report.restarts,
        "uptime_seconds": round(max(0.0, time() - report.started_at), 1) if is_running else None,
        "exit_code": report.exit_code,
        "wait_seconds": report.wait_seconds if report.state is ChildState.BACKOFF else None,
        "verdict": verdict,
        "started_by": "mesh enable" if is_local else "mesh up",
    }
