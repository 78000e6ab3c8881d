"""`mesh submit --fan-out` and `--parts`: what is submitted, and what each mistake is answered with."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

COUNT = ("submit", "count", "--unserved", "wait")


def test_parts_are_tasks_and_their_merge_is_what_is_held(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "parts.json"
    file.write_text('{"eu": {"text": "a"}, "us": {"text": "b"}}')
    id = cli.run(
        *COUNT, "--arg", "fast=true", "--parts", f"@{file}", "--merge", "sum", "--distinct", "no", "--partial"
    ).out.strip()
    task = cli.run("tasks", "show", id, "--json").json["task"]
    assert (task["type"], task["state"], task["on_parent_failure"]) == ("mesh.merge", "blocked", "run_anyway")
    assert task["payload"] == {
        "names": ["eu", "us"],
        "merge": "sum",
        "on_failure": "partial",
        "distinct": "no",
    }
    parts = cli.run("tasks", "parts", id, "--json").json["parts"]
    assert [(part["part"], part["state"], part["task"]) for part in parts] == [
        (name, "ready", parent) for name, parent in zip(("eu", "us"), task["depends_on"], strict=True)
    ]
    assert cli.run("tasks", "show", parts[1]["task"], "--json").json["task"]["payload"] == {"text": "b", "fast": True}
    assert "PART" in cli.run("tasks", "parts", id).out


def test_a_number_is_as_many_runs_of_the_same(cli: Cli) -> None:
    for number, parts in (("3", 3), ("0", 5)):
        id = cli.run(*COUNT, "--fan-out", number).out.strip()
        assert len(cli.run("tasks", "parts", id, "--json").json["parts"]) == parts


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--merge", "sum"), 2, "go with --fan-out or --parts"),
        (("--partial",), 2, "go with --fan-out or --parts"),
        (("--fan-out", "2", "--parts", "[{}]"), 2, "give one of them"),
        (("--parts", "[]"), 2, "a JSON list"),
        (("--parts", "3"), 2, "a JSON list"),
        (("--parts", "[3]"), 2, "arguments of its handler"),
        (("--parts", "[{}, {}]", "--merge", "mean"), 2, "merge 'mean' is not one of list, dict, sum, task:TYPE"),
        (("--fan-out", "2", "--distinct", "maybe"), 2, "distinct 'maybe' is not one of no, prefer, require"),
        (("--fan-out", "6"), 2, "6 parts are more than the 5 nodes"),
        (("--fan-out", "2", "--node", "a"), 2, "a fan-out is for several"),
        (("--fan-out", "2", "--verify", "2"), 2, "either verified or divided"),
        (("--fan-out", "0", "--key", "k"), 2, "says how many"),
        (("--fan-out", "0", "--unserved", "refuse"), 3, "no live node holds count"),
    ],
)
def test_mistakes(cli: Cli, words: tuple[str, ...], code: int, says: str) -> None:
    said = cli.run(*COUNT, *words)
    assert says in said.err
    assert said.code == code


def test_only_a_divided_task_has_parts(cli: Cli) -> None:
    id = cli.run(*COUNT).out.strip()
    said = cli.run("tasks", "parts", id)
    assert (said.code, "was not fanned out" in said.err) == (2, True)
