"""The benchmark runs: real workers, real stores, and a peer that cannot be installed is named."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import groups, teams
from benchmarks.lab import contenders, environments
from benchmarks.lab.contenders import BARE, MESHD, PEERS, SQLITE, gather, ours
from benchmarks.lab.environments import AbsentError, node_environment, python_environment
from benchmarks.lab.servers import Server
from benchmarks.measures.latency import calls
from benchmarks.measures.throughput import work_off

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("contender", [*ours(), PEERS[BARE]()], ids=lambda contender: contender.name)
def test_a_queue_is_worked_off_and_its_cost_counted(contender: contenders.Contender) -> None:
    run = work_off(contender, count=3_000)
    assert run.rate > 0
    assert run.worker_cpu > 0
    assert (run.commands is not None and run.commands > 0) == contender.on_redis


def test_a_call_starts_before_its_result_is_here() -> None:
    samples = calls(PEERS[BARE](), count=5)
    assert all(0 < start < result for start, result in zip(samples["start"], samples["result"], strict=True))


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_every_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.tasks", "--rounds", "2", "--scale", "0.02", "--peers", "bare"]
    done = subprocess.run(
        [*command, "--only", "throughput,submit", "--json", str(tmp_path / "figures.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| one worker process, tasks/s |" in done.stdout
    assert "| two worker processes, tasks/s |" in done.stdout
    figures: Any = json.loads((tmp_path / "figures.json").read_text())
    assert [section["title"] for section in figures["sections"]] == ["throughput", "submit"]
    assert {MESHD, SQLITE, BARE} == set(figures["sections"][0]["rows"][0]["values"])


def test_a_peer_that_cannot_be_installed_is_absent_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(PEERS, "missing", lambda: node_environment(["nothing@1"]))
    present, absent = gather(["missing"])
    assert [contender.name for contender in present] == [MESHD, SQLITE]
    assert absent == {"missing": "node is not installed"}


def test_an_environment_is_there_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(AbsentError):
        python_environment([str(tmp_path / "no-such-package")])
    assert not list(tmp_path.rglob(environments.COMPLETE))


def test_teams_are_measured_and_every_figure_is_there(tmp_path: Path) -> None:
    run = teams.measured(tmp_path / "run", count=3, idle_s=0.1)
    assert len(run.announced) == len(run.formed) == len(run.ended) == 3
    assert all(0 < announced < ended for announced, ended in zip(run.announced, run.ended, strict=True))
    assert len(run.formed_at_once) == run.open_at_once == teams.AT_ONCE
    assert min(run.cycles_per_minute, run.published_each, run.bytes_each, run.idle_bytes_per_minute) > 0
    with Server(tmp_path / "kept") as server:
        few = asyncio.run(teams.kept(server, 1, 1, taking_part=True))
    with Server(tmp_path / "more") as server:
        assert asyncio.run(teams.kept(server, 500, 1, taking_part=True)) > few


def test_choosing_is_measured_at_every_number_of_holders(tmp_path: Path) -> None:
    rows = groups.choosing(10, rounds=1)
    assert all(value >= 0 for row in rows for values in row.values.values() for value in values)
    with Server(tmp_path / "redis") as server:
        found = asyncio.run(groups.finding(server.url, of_each=100, on_each=10, rounds=1))
    assert found.name == "up to 64 holders found over Redis, of 100, 10 on a node"
    assert groups.HOLDERS == (10, 100, 1_000, 10_000)
