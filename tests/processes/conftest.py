"""The `mesh` command as a process of its own, in a folder of its own, with nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.nodes.model import Node
from meshd.runtime.processes import running
from meshd.runtime.state_dir import StateDir

MESH = (sys.executable, "-m", "meshd_cli.main")


@dataclass(frozen=True, slots=True)
class Place:
    """One folder in which `mesh` is typed."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def state(self) -> StateDir:
        return StateDir(self.folder / ".meshd")

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / '.meshd' / 'mesh.db'}"

    def mesh(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        result = subprocess.run(
            [*MESH, *words],
            cwd=self.folder,
            env=self._environment(env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == code, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        return subprocess.Popen(
            [*MESH, *words],
            cwd=self.folder,
            env=self._environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ps(self) -> dict[str, dict[str, Any]]:
        """Return the rows of `mesh ps` by name."""
        document = json.loads(self.mesh("ps", "--json").stdout)
        assert document["schema_version"] == 1
        return {row["name"]: row for row in document["processes"]}

    def pid(self, name: str) -> int:
        """Return the pid on file of a supervised node that runs, or 0."""
        process = running(self.state.pid_file(name))
        return process.pid if process else 0

    async def record(self, name: str) -> Node | None:
        """Return what the store says about a node, read as any other process would."""
        backend = await open_backend(self.url, BackendOptions())
        try:
            return await backend.nodes.get(name)
        finally:
            await backend.aclose()

    async def is_alive(self, name: str, pid: int) -> bool:
        """Return whether the store shows the node alive in this process."""
        record = await self.record(name)
        return record is not None and record.verdict == "alive" and record.profile.pid == pid

    def processes(self) -> list[psutil.Process]:
        """Return every meshd process that was started from this folder."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                ours = "meshd_cli.main" in process.cmdline() and process.cwd() == str(self.folder)
            except psutil.Error:
                continue
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHD_")}
        return {**inherited, **self.env, **extra}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path.resolve())
    yield here
    left = here.processes()
    for process in left:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(left, timeout=5)
