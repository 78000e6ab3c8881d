"""This machine's own node: started in the background by `mesh enable`, ended by `mesh disable`.

Guarantees: when `enable` returns, any process that reads the store sees the node alive; when `disable` returns, its
process has ended and the store holds no record of it. Both are harmless when repeated, and one at a time.
"""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import time

from meshd.backends import redact
from meshd.errors import ConflictError, InvalidArgumentError, MeshError
from meshd.exit_codes import ExitCode
from meshd.ids import check_name, new_id
from meshd.mesh import Mesh
from meshd.nodes.model import Membership, Node, Verdict
from meshd.runtime.arrivals import is_run_by, wait_visible
from meshd.runtime.child import Command
from meshd.runtime.logfiles import open_log
from meshd.runtime.processes import ProcessRef, exclusive, identify, recorded, running, stop, write_pid_file
from meshd.runtime.state_dir import StateDir

BUSY = "`mesh enable` or `mesh disable` is at work here already"
LOG_LINES_SHOWN = 15


class NodeStartError(MeshError):
    """The node's process ended before the mesh saw it."""

    def __init__(self, name: str, *, exit_code: int, log: Path, lines: list[str]) -> None:
        self.child_code = exit_code
        said = "\n  ".join(lines) or "(its log is empty)"
        super().__init__(f"node {name} ended with code {exit_code} before it joined; last lines of {log}:\n  {said}")

    @property
    def exit_code(self) -> ExitCode:
        """The child's own exit code, where it is one of ours."""
        known = {code.value for code in ExitCode} - {ExitCode.OK.value}
        return ExitCode(self.child_code) if self.child_code in known else ExitCode.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNode:
    """This machine's running node."""

    name: str
    process: ProcessRef
    log: Path
    home: str = ""
    """The mesh it joined, and the store: `default at sqlite:///.meshd/mesh.db`; empty if that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enabled:
    """What `enable` found or did."""

    local: LocalNode
    record: Node
    was_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """What `disable` found or did."""

    name: str
    was_running: bool
    killed: bool = False
    """It did not end within the grace."""


def local_node(state: StateDir) -> LocalNode | None:
    """Return this machine's node if its process runs."""
    process = running(state.local_pid)
    name = known_name(state)
    if process is None or name is None:
        return None
    home = state.local_home.read_text() if state.local_home.exists() else ""
    return LocalNode(name=name, process=process, log=state.log_file(name), home=home.strip())


def known_name(state: StateDir) -> str | None:
    """Return the id this machine's node had last; `None` before its first start."""
    try:
        return check_name("node", state.local_name.read_text().strip())
    except (FileNotFoundError, InvalidArgumentError):
        return None


async def enable(
    mesh: Mesh,
    state: StateDir,
    *,
    launch: Callable[[str], Command],
    name: str | None = None,
    timeout: timedelta = timedelta(seconds=30),
) -> Enabled:
    """Start this machine's node unless it runs, and return when the mesh sees it alive.

    Args:
        mesh: the mesh that the node joins; opened and closed here.
        state: where this machine keeps its processes.
        launch: makes the command that runs the node of a name.
        name: the node's id; otherwise the one it had last, or a new one.
        timeout: for the whole of it.

    Raises:
        ConflictError: the name is taken by another living process, or this machine's node runs under another name
            or in another mesh.
        NodeStartError: the node's process ended first; the error carries what it said.
        DeadlineError: the node was not seen in time; its process has been ended.
    """
    async with exclusive(state.local_lock, subject=BUSY, patience=timeout), mesh:
        local = local_node(state)
        if local is not None:
            if name not in {None, local.name}:
                raise ConflictError(f"this machine's node runs as {local.name}; `mesh disable` it first")
            return Enabled(local=local, record=await _own_record(mesh, local, timeout=timeout), was_running=True)
        chosen = name or known_name(state) or _fresh_name()
        await _check_free(mesh, state, chosen)
        return await _start(mesh, state, launch(chosen), timeout=timeout)


async def disable(mesh: Mesh, state: StateDir, *, grace: timedelta) -> Disabled:
    """End this machine's node and what the mesh knows of it; a node that is gone already is cleaned up after.

    Raises:
        MeshError: the store cannot be asked; the process has ended all the same.
    """
    async with exclusive(state.local_lock, subject=BUSY, patience=grace + timedelta(seconds=5)):
        local, stale = local_node(state), recorded(state.local_pid)
        killed = await stop([] if local is None else [local.process], grace=grace)
        state.local_pid.unlink(missing_ok=True)
        state.local_home.unlink(missing_ok=True)
        name = known_name(state) or ""
        if stale is not None and name:
            async with mesh:
                await _forget(mesh, name, pid=stale.pid)
        return Disabled(name=name, was_running=local is not None, killed=bool(killed))


async def _own_record(mesh: Mesh, local: LocalNode, *, timeout: timedelta) -> Node:
    record = await mesh.backend.nodes.get(local.name)
    if record is not None and is_run_by(record, local.process.pid):
        return record
    if local.home not in {"", home_of(mesh)}:
        raise ConflictError(f"this machine's node {local.name} is in mesh {local.home}; `mesh disable` it first")

    def expected() -> Mapping[str, int]:
        if identify(local.process.pid) is None:
            raise ConflictError(f"node {local.name} has just ended, see {local.log}; `mesh enable` starts it again")
        return {local.name: local.process.pid}

    return (await wait_visible(mesh, expected, timeout=timeout))[0]


async def _start(mesh: Mesh, state: StateDir, command: Command, *, timeout: timedelta) -> Enabled:
    log = state.log_file(command.name)
    size_before = size_of(log)
    process = spawn(command, log)

    def expected() -> Mapping[str, int]:
        exit_code = process.poll()
        if exit_code is not None:
            lines = said_since(log, size_before)
            raise NodeStartError(command.name, exit_code=exit_code, log=log, lines=lines)
        return {command.name: process.pid}

    try:
        reference = write_pid_file(state.local_pid, process.pid) or ProcessRef(process.pid, time())
        state.local_name.write_text(f"{command.name}\n")
        state.local_home.write_text(f"{home_of(mesh)}\n")
        record = (await wait_visible(mesh, expected, timeout=timeout))[0]
    except BaseException:
        process.kill()
        process.wait()
        state.local_pid.unlink(missing_ok=True)
        state.local_home.unlink(missing_ok=True)
        raise
    return Enabled(local=LocalNode(name=command.name, process=reference, log=log), record=record, was_running=False)


def home_of(mesh: Mesh) -> str:
    """Return which mesh this is, for people."""
    return f"{mesh.name} at {redact(mesh.settings.store_url)}"


def spawn(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and its terminal."""
    with open_log(log) as output:
        return subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=command.cwd,
            env={**os.environ, **command.env},
            start_new_session=True,
        )


async def _check_free(mesh: Mesh, state: StateDir, name: str) -> None:
    """Raise `ConflictError` if the name belongs to a process that lives."""
    if running(state.pid_file(name)) is not None:
        raise ConflictError(f"node {name} runs here under `mesh up`; use another --name")
    record = await mesh.backend.nodes.get(name)
    if record is not None and record.verdict is Verdict.ALIVE and not _ended_here(record, host=mesh.settings.host):
        where = f"{record.profile.host} as process {record.profile.pid}"
        raise ConflictError(f"node {name} is alive on {where}; use another --name")


def _ended_here(record: Node, *, host: str) -> bool:
    """Whether the record is of a process of this machine, which reports `host` if set, that runs no more."""
    return record.profile.host == (host or socket.gethostname()) and identify(record.profile.pid) is None


async def _forget(mesh: Mesh, name: str, *, pid: int) -> None:
    """Remove what a process that could not leave by itself left in the store, and give its tasks back."""
    record = await mesh.backend.nodes.get(name)
    if record is None or record.profile.pid != pid:
        return
    await mesh.backend.nodes.leave(Membership(node_id=name, incarnation=record.incarnation))
    await mesh.backend.tasks.reclaim(name, up_to_incarnation=record.incarnation)


def _fresh_name() -> str:
    """Return an id for this machine: its host name for people, random letters against a second folder or machine."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).strip("-._")[:40]
    return f"{host or 'node'}-{new_id()[-6:].lower()}"


def size_of(log: Path) -> int:
    """Return where the next line of a log will begin."""
    return log.stat().st_size if log.exists() else 0


def said_since(log: Path, position: int) -> list[str]:
    """Return the last lines a process wrote to its log after `position`."""
    with log.open("rb") as file:
        file.seek(position if position <= log.stat().st_size else 0)
        return file.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
