"""docs/errors.md is true: every code in it, and every command in it run as it stands."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from meshd import errors
from meshd.errors import MeshError
from meshd.exit_codes import EXIT_CODES
from meshd_cli.hints import HINTS
from tests.cli.conftest import Cli

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
READ_ONLY = "readonly.db"


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


CODES = {cells[0].strip("`"): cells for cells in rows("By code")}
MISTAKES = rows("By mistake")


def classes() -> dict[str, type[MeshError]]:
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, MeshError)]
    return {each.code: each for each in found}


def test_every_code_is_documented_with_its_exit_code_and_whether_a_retry_helps() -> None:
    assert set(CODES) == set(EXIT_CODES) == set(classes())
    for code, (_, exit_code, retry, _) in CODES.items():
        assert int(exit_code) == EXIT_CODES[code]
        assert (retry == "yes") == classes()[code].retryable


def test_hints_belong_to_codes_that_exist() -> None:
    assert set(HINTS) <= set(EXIT_CODES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    path = tmp_path_factory.mktemp("mistakes")
    (path / "corrupt.db").write_bytes(os.urandom(8192))
    (path / "typo.yaml").write_text("agent_mesh: {heartbeat_interval: 3}")
    (path / "big.json").write_text('{"text": "' + "x" * (64 << 20) + '"}')
    cli = Cli(path)
    assert cli.run("status", "--url", f"sqlite:///{READ_ONLY}").code == 0
    for name in path.glob(f"{READ_ONLY}*"):
        name.chmod(0o444)
    return cli


def unprivileged() -> list[str]:
    """Words before a command that make file permissions count for root too."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may write every file, and there is no setpriv to give that up")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.parametrize("row", MISTAKES, ids=[row[0] for row in MISTAKES])
def test_every_mistake_gets_the_documented_error_and_exit_code(row: list[str], folder: Cli) -> None:
    _, command, exit_code, message = row
    words = shlex.split(command.strip("`"))
    variables = dict(word.split("=", 1) for word in words[: words.index("mesh")])
    before = unprivileged() if READ_ONLY in command else []
    said = folder.run(*words[words.index("mesh") + 1 :], before=before, **variables)
    assert said.code == int(exit_code), said.err
    assert message in said.err
    assert re.match(r"error: |Usage: ", said.err), said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_debug_adds_the_traceback(folder: Cli) -> None:
    said = folder.run("--debug", "nodes", "show", "nobody")
    assert said.code == 3
    assert "Traceback" in said.err
    assert "error: node 'nobody'" in said.err


def test_without_a_mesh_a_task_runs_here_and_says_so(cli: Cli) -> None:
    nowhere = ("--url", "redis://127.0.0.1:1", "--or-here")
    said = cli.run("submit", "text.analyze", "--arg", "text=Not bad at all.", *nowhere, "--json")
    assert said.code == 0
    assert said.json["result"]["counts"]["words"] == 4
    assert "127.0.0.1:1" in said.json["because"]
    assert "it ran here, and nothing is recorded" in said.err


def test_what_has_no_handler_here_either_is_not_found(cli: Cli) -> None:
    said = cli.run("submit", "train", "--url", "redis://127.0.0.1:1", "--or-here")
    assert (said.code, said.out) == (3, "")
    assert "no handler for 'train' here" in said.err
