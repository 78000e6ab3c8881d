"""What holds for every command: help, options in any place, colour, pipes, signals, speed."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd_cli.main import tree
from tests.cli.conftest import MESH, Cli

GLOBAL = {"--url", "--mesh", "--config", "--json", "--color", "--debug", "--verbose"}
HEAVY = ("asyncio", "meshd.backends", "meshd.mesh", "meshd.settings", "pydantic", "redis", "rich", "sqlite3", "yaml")


def commands() -> Iterator[tuple[str, Any]]:
    def below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        for name, child in getattr(command, "commands", {}).items():
            yield from below(f"{path} {name}".strip(), child)
        if path:
            yield path, command

    return below("", tree())


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_explains_itself_with_two_examples(path: str) -> None:
    assert len(re.findall(r"^\s*(.*\| )?(\w+=\S+ )?mesh ", COMMANDS[path].help, re.MULTILINE)) >= 2


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_takes_the_global_options(path: str) -> None:
    assert {name for param in COMMANDS[path].params for name in param.opts} >= GLOBAL


def test_help_needs_nothing_heavy() -> None:
    code = f"import sys, meshd_cli.main as m; m.run(['--help']); print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.bench
def test_help_takes_less_than_300_ms(cli: Cli) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        cli.run("--help")
        return time.perf_counter() - started

    assert sorted(seconds() for _ in range(7))[3] < 0.3


def test_global_options_work_before_and_after_the_command(cli: Cli) -> None:
    before = cli.run("--json", "--mesh", "m1", "nodes", "list")
    after = cli.run("nodes", "list", "--json", "--mesh", "m1")
    between = cli.run("nodes", "--json", "list", "--mesh", "m1")
    assert before.json == after.json == between.json == {"schema_version": 1, "kind": "nodes", "nodes": []}


def test_the_url_decides_the_store_and_the_name_the_mesh(cli: Cli) -> None:
    assert cli.run("submit", "work", "--unserved", "wait", "--url", "sqlite:///a.db", "--mesh", "m1").code == 0
    pending = [
        cli.run("status", "--json", "--url", f"sqlite:///{file}.db", "--mesh", mesh).json["totals"]["pending"]
        for file, mesh in (("a", "m1"), ("a", "m2"), ("b", "m1"))
    ]
    assert pending == [1, 0, 0]


def test_a_machine_that_is_not_enabled_is_told_how(cli: Cli) -> None:
    said = cli.run("status")
    assert said.code == 0
    assert "Agent Mesh Status: DISABLED" in said.out
    assert "`mesh enable`" in said.out
    assert "Total Nodes: 0" in said.out


def test_enabled_false_leaves_the_store_alone(cli: Cli) -> None:
    said = cli.run("status", "--json", MESHD_ENABLED="false", MESHD_URL="redis://127.0.0.1:1/0")
    assert (said.code, said.json["enabled"], said.json["totals"]) == (0, False, None)
    assert "mesh enable" in said.json["hint"]
    assert list(cli.folder.iterdir()) == []


def test_config_show_names_the_sources_and_hides_passwords(cli: Cli) -> None:
    (cli.folder / "config.yaml").write_text("agent_mesh: {port: 9901, redis: {password: hunter2}}")
    said = cli.run("config", "show", "--sources", "--json", "--mesh", "m1", MESHD_MAX_CAPACITY="3")
    shown = said.json
    assert {key: shown["sources"][key] for key in ("port", "mesh", "max_capacity", "host")} == {
        "port": "file config.yaml",
        "mesh": "argument",
        "max_capacity": "environment MESHD_MAX_CAPACITY",
        "host": "default",
    }
    table = cli.run("config", "show", "--sources")
    assert re.search(r"^port +9901 +file config.yaml$", table.out, re.MULTILINE)
    assert "hunter2" not in said.out + table.out


def test_older_names_work_with_a_note(cli: Cli) -> None:
    said = cli.run("config", "show", "--json", MERNSTA_NODE_TYPE="planning_only")
    assert said.json["settings"]["node_type"] == "planning_only"
    assert said.err == "note: MERNSTA_NODE_TYPE is an older name: use MESHD_NODE_TYPE\n"


@pytest.mark.parametrize(
    ("words", "variables", "colored"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        (("--color", "never"), {}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
    ],
)
def test_colour_on_a_terminal(words: tuple[str, ...], variables: dict[str, str], colored: bool, cli: Cli) -> None:
    assert (b"\x1b[" in on_a_terminal(cli, "status", *words, **variables)) is colored


def test_colour_can_be_forced_into_a_pipe(cli: Cli) -> None:
    assert "\x1b[" in cli.run("status", "--color", "always").out


def on_a_terminal(cli: Cli, *words: str, **variables: str) -> bytes:
    """What a command prints when a person looks."""
    ours, theirs = pty.openpty()
    environment = cli.environment(TERM="xterm", **variables)
    with subprocess.Popen([MESH, *words], cwd=cli.folder, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:
            pass
    os.close(ours)
    assert process.returncode == 0, said
    return said


def test_a_watch_reads_again_until_interrupted(cli: Cli) -> None:
    with cli.start("nodes", "list", "--watch", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert [json.loads(line)["kind"] for line in lines] == ["nodes", "nodes"]
        assert process.stderr.read() == ""


def test_a_closed_pipe_ends_a_command_without_a_word(cli: Cli) -> None:
    with cli.start("config", "show") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""


def test_debug_logs_go_to_stderr(cli: Cli) -> None:
    said = cli.run("status", "--json", "-v")
    assert "DEBUG" in said.err
    assert said.json["kind"] == "status"


def test_doctor_names_a_fix_for_what_fails(cli: Cli) -> None:
    said = cli.run("doctor", "--url", "redis://127.0.0.1:1/0", "--json")
    assert said.code == 8
    failed = [check for check in said.json["checks"] if check["state"] == "fail"]
    assert failed[0]["name"] == "connectivity"
    assert all(check["fix"] for check in failed)


def test_doctor_reports_settings_that_cannot_be_used(cli: Cli) -> None:
    said = cli.run("doctor", MESHD_PORT="many")
    assert said.code == 8
    assert "fail settings: setting port" in said.out


def test_doctor_names_tasks_nobody_can_run(cli: Cli) -> None:
    cli.run("submit", "levitate", "--unserved", "wait")
    checks = {check["name"]: check for check in cli.run("doctor", "--json").json["checks"]}
    assert checks["waiting tasks"]["state"] == "warn"
    assert "levitate" in checks["waiting tasks"]["detail"]


def test_the_version_is_printed(cli: Cli) -> None:
    assert re.fullmatch(r"mesh \d+\.\d+\.\d+\S*\n", cli.run("--version").out)


def test_the_module_runs_as_the_script_does(cli: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshd_cli.main", "nodes", "list", "--json"],
        cwd=cli.folder,
        env=cli.environment(PYTHONPATH=os.pathsep.join(str(Path(__file__).parents[2] / part) for part in ("", "cli"))),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["nodes"] == []
