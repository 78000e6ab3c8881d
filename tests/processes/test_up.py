"""`mesh up`, `mesh ps`, `mesh logs`, `mesh down`: a fleet of real node processes."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from meshd.runtime.processes import running
from meshd.tasks.agreement import TALLY_TASK
from meshd.tasks.fan_out import MERGE_TASK
from meshd.tasks.voting import VOTE_TASK
from tests.processes.conftest import Place
from tests.support.waiting import wait_until

NAMES = ("a", "b", "c")
FLEET = (
    "nodes: [{name: a, capabilities: [x, y], role: analyzer}, {name: b, module: mine.py, concurrency: 2}, {name: c}]"
)
MODULE = """
import time

def nap(seconds: float) -> None:
    print("napping", flush=True)
    time.sleep(seconds)

handlers = {"nap": nap}
"""
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def fleet(place: Place) -> Place:
    (place.folder / "mesh.yaml").write_text(FLEET)
    (place.folder / "mine.py").write_text(MODULE)
    return place


@pytest.fixture
def supervisor(fleet: Place) -> Iterator[subprocess.Popen[str]]:
    process = fleet.begin("up")
    yield process
    process.kill()
    process.communicate()


async def have_joined(place: Place) -> bool:
    return all([await place.is_alive(name, place.pid(name)) for name in NAMES])


async def all_joined(place: Place) -> None:
    await wait_until(lambda: have_joined(place), timeout=30)


def pids(place: Place) -> list[int]:
    return [place.pid(name) for name in NAMES]


async def test_a_killed_node_rejoins_under_its_id(fleet: Place, supervisor: subprocess.Popen[str]) -> None:
    await all_joined(fleet)
    killed = fleet.pid("b")
    before = await fleet.record("b")
    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: fleet.pid("b") not in {0, killed})
    await wait_until(lambda: fleet.is_alive("b", fleet.pid("b")), timeout=20)
    after = await fleet.record("b")
    assert before is not None
    assert after is not None
    assert after.incarnation > before.incarnation
    assert after.profile.capacity == 2
    assert after.profile.task_types == {"nap", VOTE_TASK, TALLY_TASK, MERGE_TASK}
    rows = fleet.ps()
    assert {name: (row["state"], row["restarts"], row["verdict"]) for name, row in rows.items()} == {
        "a": ("running", 0, "alive"),
        "b": ("running", 1, "alive"),
        "c": ("running", 0, "alive"),
    }
    assert [rows[name]["pid"] for name in NAMES] == pids(fleet)
    assert supervisor.poll() is None


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_all_are_gone_within_five_seconds_of_the_signal(
    fleet: Place, supervisor: subprocess.Popen[str], signum: signal.Signals
) -> None:
    await all_joined(fleet)
    begun = monotonic()
    supervisor.send_signal(signum)
    output, _ = supervisor.communicate(timeout=10)
    assert monotonic() - begun < 5
    assert supervisor.returncode == 0, output
    assert fleet.processes() == []
    assert list(fleet.state.run.iterdir()) == []
    assert [await fleet.record(name) for name in NAMES] == [None, None, None]


async def test_a_handler_that_does_not_stop_delays_nobody(fleet: Place, supervisor: subprocess.Popen[str]) -> None:
    await all_joined(fleet)
    fleet.mesh("submit", "nap", "--arg", "seconds=60")
    await wait_until(lambda: "napping" in fleet.state.log_file("b").read_text(), timeout=10)
    begun = monotonic()
    supervisor.send_signal(signal.SIGINT)
    output, _ = supervisor.communicate(timeout=10)
    assert monotonic() - begun < 5, output
    assert fleet.processes() == []
    assert await fleet.record("b") is None


async def test_nodes_end_with_a_supervisor_that_was_killed(fleet: Place, supervisor: subprocess.Popen[str]) -> None:
    await all_joined(fleet)
    supervisor.kill()
    supervisor.wait()
    await wait_until(lambda: fleet.processes() == [], timeout=6)
    assert [await fleet.record(name) for name in NAMES] == [None, None, None]
    assert {row["state"] for row in fleet.ps().values()} == {"stopped"}
    fleet.mesh("down")
    assert list(fleet.state.run.iterdir()) == []
    assert fleet.ps() == {}


async def test_detached_up_returns_when_all_are_visible_and_down_is_harmless_when_repeated(fleet: Place) -> None:
    assert fleet.mesh("up", "--detach").stdout == "up: a, b, c\n"
    for name in NAMES:
        assert await fleet.is_alive(name, fleet.pid(name))
    assert "mesh down" in fleet.mesh("up", "--detach", code=7).stderr
    assert "joined mesh default" in fleet.mesh("logs", "a").stdout
    assert "a, b, c" in fleet.mesh("logs", "absent", code=3).stderr
    assert fleet.mesh("down").stdout == "down: a, b, c\n"
    assert fleet.processes() == []
    assert fleet.mesh("down").stdout == "nothing to stop: no fleet runs here\n"


async def test_following_a_log_shows_what_is_added(fleet: Place) -> None:
    log = fleet.state.log_file("a")
    log.parent.mkdir(parents=True)
    log.write_text("old\nfirst\n")
    reader = fleet.begin("logs", "a", "-f", "-n", "1")
    assert reader.stdout is not None
    assert reader.stdout.readline() == "first\n"
    with log.open("a") as file:
        file.write("second\n")
    assert reader.stdout.readline() == "second\n"
    reader.send_signal(signal.SIGINT)
    reader.communicate(timeout=10)


def test_a_bad_fleet_file_starts_nothing(place: Place) -> None:
    (place.folder / "mesh.yaml").write_text("nodes: [{name: a, modul: mine.py}]")
    refused = place.mesh("up", code=2)
    assert "nodes.0.modul" in refused.stderr
    assert "did you mean 'module'" in refused.stderr
    assert "does not exist" in place.mesh("up", "-f", "absent.yaml", code=2).stderr
    assert running(place.state.supervisor_pid) is None


def test_a_fleet_that_cannot_start_says_why_and_leaves_nothing(fleet: Place) -> None:
    (fleet.folder / "mine.py").write_text("import surely_absent")
    failed = fleet.mesh("up", "--detach", code=2)
    assert "surely_absent" in failed.stderr
    assert fleet.processes() == []
    assert list(fleet.state.run.iterdir()) == []


async def test_the_examples_work_together(place: Place) -> None:
    for name in ("mesh.yaml", "my_handlers.py", "quickstart.py"):
        shutil.copy(EXAMPLES / name, place.folder)
        assert len((EXAMPLES / name).read_text().splitlines()) <= 80
    assert place.mesh("up", "--detach").stdout == "up: counter-1, counter-2, reader\n"
    result = subprocess.run(
        [sys.executable, "quickstart.py"], cwd=place.folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.stdout == "{'words': 6, 'most_common': [['to', 2], ['be', 2], ['or', 1]]}\n", result.stderr
    place.mesh("down")
