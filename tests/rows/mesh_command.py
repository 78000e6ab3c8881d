"""The `mesh` command as a process of its own, on the store and mesh of the test."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshd import codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`command("tasks", "list")` runs `mesh tasks list` to its end and returns what it printed."""

    url: str
    mesh: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict[str, str])

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "meshd_cli.main", *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return codec.parse_json(self(*words, "--json"), what="document")

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on."""
        return subprocess.Popen(
            [sys.executable, "-m", "meshd_cli.main", *words],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHD_")}
        where = {"MESHD_URL": self.url, "MESHD_MESH": self.mesh}
        return {**kept, **{name: value for name, value in where.items() if value}, **self.env}
