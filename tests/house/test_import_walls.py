"""Every wall between rooms holds, and each is shown to catch a breach."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

BREACHES = [
    ("rules", "meshd/tasks/states.py", "import time"),
    ("rules", "meshd/tasks/routing.py", "import asyncio"),
    ("rules", "meshd/tasks/backoff.py", "import logging"),
    ("rules", "meshd/groups/scoring.py", "import time"),
    ("rules", "meshd/nodes/model.py", "import meshd.backends"),
    ("rules", "meshd/tasks/model.py", "from meshd.tasks.store import TaskStore"),
    ("ports", "meshd/tasks/store.py", "from meshd.tasks.service import TaskService"),
    ("ports", "meshd/records.py", "import redis"),
    ("ports", "meshd/backends/port.py", "import meshd.backends.sqlite"),
    ("nodes-room", "meshd/nodes/service.py", "from meshd.tasks.states import apply"),
    ("tasks-room", "meshd/tasks/service.py", "from meshd.nodes.store import NodeStore"),
    ("memory-room", "meshd/memory/service.py", "from meshd.tasks.service import TaskService"),
    ("replication-room", "meshd/memory/replication/intake.py", "from meshd.memory.service import Memory"),
    ("replication-door", "meshd/memory/core.py", "from meshd.memory.replication.replica import Replica"),
    ("messages-room", "meshd/messages/service.py", "from meshd.votes.service import VoteService"),
    ("votes-room", "meshd/votes/service.py", "from meshd.nodes.store import NodeStore"),
    ("topology-room", "meshd/topology/service.py", "from meshd.tasks.service import TaskService"),
    ("groups-room", "meshd/groups/covering.py", "from meshd.tasks.scoring import scored"),
    ("peers-room", "meshd/peers/sockets.py", "from meshd.nodes.model import Node"),
    ("backends", "meshd/backends/sqlite/__init__.py", "import meshd.mesh"),
    ("backends", "meshd/backends/redis/__init__.py", "from meshd.tasks.service import TaskService"),
    ("backend-door", "meshd/mesh.py", "import meshd.backends.redis"),
    ("backend-door", "meshd/backends/redis/__init__.py", "import meshd.backends.sqlite"),
    ("backend-door", "cli/meshd_cli/__init__.py", "from meshd.backends.sqlite import open_backend"),
    ("drivers", "meshd/runtime/__init__.py", "import sqlite3"),
    ("drivers", "meshd/backends/sqlite/__init__.py", "import redis"),
    ("drivers", "meshd/mesh.py", "import rich"),
    ("upwards", "meshd/tasks/service.py", "import meshd.mesh"),
    ("upwards", "meshd/mesh.py", "import meshd.runtime"),
    ("upwards", "meshd/runtime/__init__.py", "import meshd_cli"),
]
"""Contract id, file, and a line that the contract must not let pass there."""

CONCEPT_ROOMS = ("memory", "nodes", "tasks")
SERVICE, REPLICA = "a part of the memory service", "a part of a replica, which waits for its hub"
NOT_RULES = {
    "access": "what the memory service stands on: a port",
    "local": "what a replica stands on: a port",
    "hub_access": "does I/O through the port",
    "leased_writer": "does I/O through the port",
    "masteries": "does I/O through the port",
    "abreast": "has several things under way at once",
    "confirming": "waits for replicas",
    "meeting": "waits for replicas",
    "requesting": "waits for replicas",
    "customs": "imports functions of the user's",
    "stamping": "keeps a clock",
    "sessions": "keeps what was seen",
    **dict.fromkeys(("conflicts", "core", "counting", "history", "leases", "sets", "undo", "watching"), SERVICE),
    **dict.fromkeys(("cache", "commits", "counters", "following", "intake", "outbox"), REPLICA),
    **dict.fromkeys(("reconciling", "repairing", "replica", "syncer", "watchers"), REPLICA),
    "admission": "waits for room",
    "dead": "does I/O through the port",
    "dividing": "looks at the nodes through the placer",
    "reading": "does I/O through the port",
    "observing": "does I/O through the port",
    "service": "does I/O through the port",
    "steering": "does I/O through the port",
    "store": "the port",
    "parents": "divides calls by the limits of the port",
    "placement": "looks at the nodes, once a second at most",
    "rates": "reads the event log",
    "request": "makes ids, so it reads the clock",
    "waiting": "waits for hints",
}
"""Module names in a concept room that are neither models nor pure rules, and why."""


def copy_of_the_house(folder: Path) -> Path:
    for part in ("meshd", "cli"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint_imports(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, "--no-cache", "--no-logo", *arguments],
        cwd=house,
        env={**os.environ, "PYTHONPATH": f"{house}{os.pathsep}{house / 'cli'}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def contracts() -> list[dict[str, Any]]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def test_every_wall_holds() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("contract", "file", "line"), BREACHES, ids=[f"{c}-{f}" for c, f, _ in BREACHES])
def test_a_breach_is_caught(contract: str, file: str, line: str, tmp_path: Path) -> None:
    house = copy_of_the_house(tmp_path)
    breached = house / file
    breached.write_text(f"{breached.read_text()}\n{line}\n")
    result = lint_imports(house, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_every_wall_is_proven_by_a_breach() -> None:
    assert {contract["id"] for contract in contracts()} == {contract for contract, _, _ in BREACHES}


def test_every_module_of_a_concept_room_is_a_rule_or_says_why_not() -> None:
    pure = next(contract for contract in contracts() if contract["id"] == "rules")["source_modules"]
    rules = {"model", *(module.rsplit(".", 1)[1] for module in pure)}
    found = {
        file.stem for room in CONCEPT_ROOMS for file in (ROOT / "meshd" / room).glob("*.py") if file.stem != "__init__"
    }
    assert found - rules - NOT_RULES.keys() == set()
