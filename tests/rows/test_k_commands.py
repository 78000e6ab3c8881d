"""Rows K1, K2, K3, K5: this machine's node, started and ended by commands, as another terminal sees it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.rows.mesh_command import Command


@pytest.fixture
def other(command: Command, tmp_path: Path) -> Command:
    """Another terminal, in another folder, on the same mesh."""
    (tmp_path / "terminal").mkdir()
    return replace(command, folder=tmp_path / "terminal")


def test_a_machine_is_enabled_seen_elsewhere_put_to_work_and_disabled(command: Command, other: Command) -> None:
    command("enable", "--name", "here", "--type", "language_expert", "--concurrency", "4")
    try:
        assert command("enable") == "already enabled: node here\n"
        assert '"negative"' not in other("submit", "text.analyze", "--arg", "text=Not bad at all.", "--wait")
        other("submit", "echo", "--arg", "text=later", "--delay", "1h")
        status = other.json("status")
        totals = status["totals"]
        assert (totals["nodes"], totals["active_nodes"], totals["completed"], totals["pending"]) == (1, 1, 1, 1)
        assert [node["id"] for node in status["nodes"]] == ["here"]
        assert command.json("status")["local_node"]["id"] == "here"
        (node,) = other.json("agents")["nodes"]
        assert (node["type"], node["status"], node["tasks_completed"], node["capacity"]) == (
            "language_expert",
            "active",
            1,
            4,
        )
        assert node["memory_mb"] > 1
        assert node["heartbeat_age_seconds"] < 5
        assert {"text.analyze", "language"} <= set(node["capabilities"])
    finally:
        assert command("disable") == "disabled: node here left\n"
    assert "not enabled" in command("disable")
    assert other.json("nodes", "list")["nodes"] == []
