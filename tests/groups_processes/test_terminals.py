"""Two terminals: agents run in one, `mesh announce --wait` is typed in the other, and `mesh explain` says why."""

import signal
from pathlib import Path

import pytest

from tests.groups_processes.agents_process import Player
from tests.groups_processes.stage import Stage
from tests.rows.mesh_command import Command


@pytest.fixture
def command(any_stage: Stage, tmp_path: Path) -> Command:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Command(url=any_stage.url, mesh=any_stage.mesh.name, folder=folder)


async def test_agents_in_one_terminal_do_what_is_announced_in_another_and_explain_says_why(
    any_stage: Stage, command: Command
) -> None:
    analyst = Player(name="analyst", skills=("python=expert", "statistics=advanced"))
    writer = Player(name="writer", skills=("writing",))
    busy = Player(name="busy", skills=("writing=expert",), cost=0, rejects="on holiday")
    agents = await any_stage.enter("terminal-1", analyst, writer, busy)
    needs = ["--skill", "python>=advanced", "--skill", "statistics", "--skill", "writing"]
    announced = command.json("announce", "quarterly report", *needs, "--id", "report-1", "--wait")
    assert announced["id"] == "report-1"
    assert {role: result["agent"] for role, result in announced["results"].items()} == {
        "python": "analyst",
        "statistics": "analyst",
        "writing": "writer",
    }
    assert {result["pid"] for result in announced["results"].values()} == {agents.pid}
    said = command("explain", "report-1")
    assert "analyst" in said
    assert "writer" in said
    assert "on holiday" in said
    shown = command.json("groups", "show", "report-1")
    assert shown["group"]["state"] == "completed"
    assert "report-1" in command("groups", "list", "--state", "completed")
    listed = command("skills")
    assert all(skill in listed for skill in ("python", "statistics", "writing"))
    agents.send_signal(signal.SIGTERM)
    assert agents.wait(20) == 0
    refused = command("announce", "more", *needs, "--unserved", "refuse", code=3)
    assert not refused


async def test_what_fails_in_the_other_terminal_ends_the_waiting_with_its_reason(
    any_stage: Stage, command: Command
) -> None:
    await any_stage.enter("terminal-1", Player(name="broken", skills=("python",), raises="no disk"))
    needs = ["--skill", "python", "--deadline", "3s"]
    command("announce", "report", *needs, "--id", "report-2", "--wait", code=1)
    assert "no disk" in command("explain", "report-2")
