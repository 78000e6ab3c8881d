"""Every command and every program of the documents runs as written, in an empty folder.

A document's blocks are run in order: `sh` line by line, `python` as a program, and a block marked `file=NAME` is
written down for those after it. A command that goes on (`mesh node start`, `mesh up`) is left running until the end.
The project's own scripts are only looked for: they have tests of their own, and one of them runs this test.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meshd import codec
from meshd.settings_aliases import ENVIRONMENT_ALIASES
from tests.support.leaks import MeshKeys
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(sh|python|yaml)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    document
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(document.read_text())
]
GOES_ON = re.compile(r"mesh (node start|role start|up(?!.*--detach))\b")
SECONDS = 120


@dataclass(slots=True, kw_only=True)
class Reader:
    """Someone who types what a document says."""

    folder: Path
    redis_url: str
    env: dict[str, str]
    running: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def read(self, document: Path) -> None:
        for language, name, text in BLOCK.findall(document.read_text()):
            if name:
                (self.folder / name).write_text(text)
            elif language == "sh":
                for line in text.splitlines():
                    self.type(line)
            elif language == "python":
                self.run([sys.executable, "-c", text])

    def type(self, line: str) -> None:
        line = line.replace("redis://localhost", self.redis_url)
        if line.startswith(("./scripts/", "./.ci/")):
            script = ROOT / line.split()[0]
            assert os.access(script, os.X_OK), line
        elif assignment := re.fullmatch(r"export (\w+)=(\S+)", line):
            self.env[assignment[1]] = assignment[2]
        elif GOES_ON.match(line):
            self.leave_running(line)
        else:
            self.run(["bash", "-c", f"set -o pipefail; {line}"])

    def run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def leave_running(self, line: str) -> None:
        """Start a command that goes on; return once the mesh has grown and nothing more joins."""
        before = len(self.active())
        with (self.folder / "output").open("a") as output:
            self.running.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {line}"],
                    cwd=self.folder,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    text=True,
                    start_new_session=True,
                )
            )
        end = time.monotonic() + SECONDS
        while len(self.active()) <= before or self.is_starting():
            assert self.running[-1].poll() is None, (self.folder / "output").read_text()
            assert time.monotonic() < end, f"{line}: no node joined"

    def active(self) -> list[Any]:
        nodes = codec.parse_json(self.run(["mesh", "nodes", "list", "--json"]))["nodes"]
        return [node for node in nodes if node["status"] == "active"]

    def is_starting(self) -> bool:
        processes = codec.parse_json(self.run(["mesh", "ps", "--json"]))["processes"]
        return any(process["verdict"] != "alive" for process in processes)

    def stop(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGINT)
        ends = [process.wait(SECONDS) for process in self.running]
        self.run(["mesh", "down"])
        self.run(["mesh", "disable"])
        assert ends == [0] * len(ends), (self.folder / "output").read_text()


@pytest.fixture
def reader(tmp_path: Path, redis_server: RedisServer) -> Iterator[Reader]:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    env = {name: value for name, value in os.environ.items() if not name.startswith("MESHD_")}
    env = {name: value for name, value in env.items() if name not in ENVIRONMENT_ALIASES}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    reader = Reader(folder=tmp_path, redis_url=redis_server.url, env=env)
    yield reader
    reader.stop()
    keys = MeshKeys(redis_server.url, "default:")
    keys.remove()
    keys.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_command_runs_as_written(document: Path, reader: Reader) -> None:
    reader.read(document)


def test_no_block_of_commands_escapes() -> None:
    """A fence that looks like commands must be one of those that are run."""
    for document in DOCUMENTS:
        text = document.read_text()
        fences = re.findall(r"^```(\S+)", text, re.MULTILINE)
        assert set(fences) <= {"sh", "python", "yaml", "mermaid"}, document.name
        assert len([fence for fence in fences if fence != "mermaid"]) == len(BLOCK.findall(text)), document.name
