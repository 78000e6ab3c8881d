"""Row O11 and issue §7: the whole demo, as a person runs it, with real nodes and a real kill."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from meshd import Mesh, TaskState
from tests.support.redis_server import RedisServer

FILES = 40
KEYS = {
    "submitted", "completed", "rerun", "lost", "double_completions", "killed", "per_node", "queue_ms", "seconds",
    "backend",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    library = sorted(Path(json.__file__).parent.parent.glob("*.py"))[:FILES]
    texts = tmp_path / "texts"
    texts.mkdir()
    for file in library:
        (texts / file.name).write_bytes(file.read_bytes())
    return texts


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A demo that leaves nothing of this test outside `tmp_path`."""
    script = f"import sys, tempfile; tempfile.tempdir = {str(tmp_path)!r}; from meshd_cli.main import main; main()"
    return [sys.executable, "-c", script, "demo"]


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite_local", "redis_distributed"])
def test_a_node_is_killed_and_nothing_is_lost_or_doubled(
    backend: str, folder: Path, command: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = [] if backend == "sqlite_local" else ["--url", request.getfixturevalue("redis_server").url]
    report = tmp_path / "report.json"

    done = run(command, str(folder), "--report", str(report), *url)

    assert done.returncode == 0, done.stderr
    facts = json.loads(report.read_text())
    (killed,) = facts["killed"]
    assert facts.keys() == KEYS
    assert (facts["submitted"], facts["completed"], facts["lost"], facts["double_completions"]) == (FILES, FILES, 0, 0)
    assert sum(facts["per_node"].values()) == FILES
    assert 0 <= facts["queue_ms"]["p50"] <= facts["queue_ms"]["p99"] < facts["seconds"] * 1000
    assert facts["backend"] == backend
    assert f"killed {killed} (pid " in done.stderr
    assert f"the mesh has noticed: {killed} is dead" in done.stderr
    assert f"offline {killed}" in done.stdout
    assert not list(tmp_path.glob("meshd-demo-*"))


@pytest.fixture
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo whose first tasks have ended."""
    with subprocess.Popen([*command, str(folder), "--nodes", "2"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " tasks ended" in line:
                break
        yield process
        process.kill()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process_and_no_file(
    running: subprocess.Popen[str], signum: signal.Signals, code: int, tmp_path: Path
) -> None:
    nodes = psutil.Process(running.pid).children(recursive=True)

    running.send_signal(signum)

    assert running.wait(timeout=15) == code
    assert nodes
    assert psutil.wait_procs(nodes, timeout=0)[1] == []
    assert not list(tmp_path.glob("meshd-demo-*"))


async def test_an_interrupted_demo_leaves_no_task_waiting_and_can_be_repeated_in_the_same_mesh(
    command: list[str], redis_server: RedisServer
) -> None:
    here = ["--url", redis_server.url, "--mesh", "show"]
    with subprocess.Popen([*command, *here], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if " tasks ended" in line)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130

    async with Mesh(redis_server.url, mesh="show") as mesh:
        counts = await mesh.tasks.counts()
    assert counts[TaskState.CANCELLED] > 0
    assert all(state.is_terminal for state, count in counts.items() if count)

    again = run(command, *here, "--nodes", "1", "--limit", "5")
    assert again.returncode == 0, again.stderr
    assert run(command, *here, "--nodes", "1", "--limit", "5").returncode == 0


def test_nodes_end_with_a_demo_that_was_killed(running: subprocess.Popen[str]) -> None:
    nodes = psutil.Process(running.pid).children(recursive=True)

    running.kill()

    assert nodes
    assert psutil.wait_procs(nodes, timeout=15)[1] == []


def test_what_cannot_be_used_is_said_before_anything_starts(command: list[str], tmp_path: Path) -> None:
    nowhere = run(command, str(tmp_path / "nowhere"))
    unwritable = run(command, "--report", str(tmp_path / "no" / "report.json"))

    assert (nowhere.returncode, "is not a folder" in nowhere.stderr) == (2, True)
    assert (unwritable.returncode, "cannot be written" in unwritable.stderr) == (2, True)
    assert not list(tmp_path.glob("meshd-demo-*"))
