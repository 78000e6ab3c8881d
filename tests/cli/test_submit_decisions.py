"""`mesh submit --requires-vote` and `--verify`: what is submitted, and what each mistake is answered with."""

import pytest

from tests.cli.conftest import Cli

PAY = ("submit", "pay", "--arg", "amount=5", "--unserved", "wait")


def test_a_required_vote_is_a_task_before_it(cli: Cli) -> None:
    id = cli.run(
        *PAY, "--requires", "gpu", "--requires-vote", "--electors", "ada,bob", "--quorum", "2", "--vote-timeout", "5m"
    ).out.strip()
    task = cli.run("tasks", "show", id, "--json").json["task"]
    (parent,) = task["depends_on"]
    gate = cli.run("tasks", "show", parent, "--json").json["task"]
    assert (task["state"], gate["type"]) == ("blocked", "mesh.vote")
    assert "gpu" in task["requires"]
    assert gate["payload"] == {
        "content": {"task": "pay", "payload": {"amount": 5}},
        "electorate": ["ada", "bob"],
        "quorum": {"count": 2, "permil": 600, "weighted": False},
        "timeout_ms": 300_000,
    }


@pytest.mark.parametrize(("more", "runs"), [((), 5), (("--copies", "4"), 4)])
def test_a_verified_task_waits_for_its_runs(cli: Cli, more: tuple[str, ...], runs: int) -> None:
    id = cli.run(*PAY, "--verify", "3", *more).out.strip()
    task = cli.run("tasks", "show", id, "--json").json["task"]
    assert (task["type"], len(task["depends_on"])) == ("mesh.tally", runs)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--electors", "ada"), "go with --requires-vote"),
        (("--vote-timeout", "5m"), "go with --requires-vote"),
        (("--requires-vote", "--quorum", "5x"), "is not a quorum"),
        (("--verify", "0"), "--verify"),
        (("--verify", "2", "--copies", "4"), "more than half"),
        (("--copies", "4"), "copies"),
    ],
)
def test_mistakes(cli: Cli, words: tuple[str, ...], says: str) -> None:
    said = cli.run(*PAY, *words)
    assert said.code == 2
    assert says in said.err
