"""Rows J15, L3, L9, L12, L21: settings that change what a node does."""

import json
import sqlite3
from datetime import datetime
from typing import Any

import pytest

from meshd import Mesh
from tests.rows.conftest import SOON
from tests.rows.mesh_command import Command
from tests.support.waiting import wait_until


@pytest.fixture
def plain(command: Command) -> Command:
    """A terminal that says nothing of a store."""
    return Command(url="", mesh=command.mesh, folder=command.folder)


def test_the_path_in_the_settings_is_the_file_used_and_it_is_in_wal_mode(plain: Command) -> None:
    (plain.folder / "config.yaml").write_text("agent_mesh: {protocol: sqlite_local, sqlite_db_path: deep/own.db}\n")
    plain("submit", "echo", "--unserved", "wait")
    with sqlite3.connect(plain.folder / "deep" / "own.db") as look:
        assert look.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert look.execute("SELECT count(*) FROM tasks").fetchone() == (1,)
    look.close()


async def test_the_system_read_by_a_sensor_changes_and_tells_when(mesh: Mesh, command: Command) -> None:
    process = command.begin("node", "start", "--name", "sensor", "--type", "sensor_connected")
    readings: list[dict[str, Any]] = []

    async def is_here() -> bool:
        return [node.id for node in await mesh.nodes.list()] == ["sensor"]

    async def has_changed() -> bool:
        readings.append(await (await mesh.tasks.submit("system.read")).result(timeout=SOON))
        return len({json.dumps({**reading, "at": ""}) for reading in readings}) > 1

    try:
        await wait_until(is_here, timeout=30)
        await wait_until(has_changed, timeout=30)
    finally:
        process.terminate()
    assert process.wait(20) == 0
    times = [datetime.fromisoformat(reading["at"]) for reading in readings]
    assert times == sorted(set(times))


@pytest.mark.parametrize(("retried", "tries"), [(True, 2), (False, 1)])
async def test_whether_and_how_often_a_task_is_tried_is_a_setting(
    mesh: Mesh, command: Command, retried: bool, tries: int
) -> None:
    (command.folder / "mine.py").write_text(
        "def fail() -> None:\n    raise ValueError('no luck')\n\nhandlers = {'fail': fail}\n"
    )
    retries = {"retry_failed_tasks": retried, "max_task_retries": 2, "retry_backoff_seconds": 0.01}
    (command.folder / "config.yaml").write_text(json.dumps({"agent_mesh": {"task_distribution": retries}}))
    process = command.begin("node", "start", "--name", "worker", "--module", "mine.py")
    try:
        task_id = command("submit", "fail", "--unserved", "wait").strip()
        await mesh.tasks.handle(task_id).wait(timeout=SOON)
    finally:
        process.terminate()
    assert process.wait(20) == 0
    task = command.json("tasks", "show", task_id)["task"]
    assert (task["state"], task["failures"]) == ("dead", tries)


@pytest.mark.parametrize(("level", "speaks"), [("INFO", True), ("ERROR", False)])
async def test_the_log_level_is_honoured(mesh: Mesh, command: Command, level: str, speaks: bool) -> None:
    command.env["MESHD_LOGGING__LEVEL"] = level
    command("enable", "--name", "quiet")
    command("disable")
    assert await mesh.nodes.list() == []
    logs = "".join(log.read_text() for log in (command.folder / ".meshd").rglob("*.log"))
    assert ("joined mesh" in logs) is speaks
