"""The real `mesh` command, run as a process in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

import pytest

from meshd.settings_aliases import ENVIRONMENT_ALIASES

MESH = Path(sys.executable).parent / "mesh"
SECONDS = 60


@dataclass(frozen=True)
class Said:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return loads(self.out)


@dataclass(frozen=True)
class Cli:
    """A folder to run commands in."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])

    def environment(self, **variables: str) -> dict[str, str]:
        removed = {*ENVIRONMENT_ALIASES, "NO_COLOR", "FORCE_COLOR"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MESHD_") and k not in removed}
        return {**kept, **self.variables, **variables}

    def run(
        self, *words: str, stdin: str | None = None, before: Sequence[str] = (), script: str = "", **variables: str
    ) -> Said:
        """Run `mesh`, or another console script of the package, to its end."""
        done = subprocess.run(
            [*before, str(MESH.parent / script) if script else str(MESH), *words],
            cwd=self.folder,
            env=self.environment(**variables),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        return subprocess.Popen(
            [str(MESH), *words],
            cwd=self.folder,
            env=self.environment(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A folder whose machine is enabled as the language expert `reader-1`; it stays so for the whole module."""
    cli = Cli(tmp_path_factory.mktemp("served"))
    enabled = cli.run("enable", "--type", "language_expert", "--name", "reader-1")
    assert enabled.code == 0, enabled.err
    yield cli
    cli.run("disable", "--grace", "2")


@pytest.fixture
def submitted(served: Cli) -> Callable[..., str]:
    """Submits a task that completes, and returns its id."""

    def submit(*words: str) -> str:
        said = served.run("submit", "text.analyze", "--arg", "text=Not bad at all.", *words)
        assert said.code == 0, said.err
        return said.out.strip()

    return submit
