"""The commands that steer tasks: dead letters in bulk, pausing, priority, the audit."""

from collections.abc import Callable

import pytest

from tests.cli.conftest import Cli


@pytest.fixture
def buried(served: Cli) -> Callable[[], str]:
    """Submits a task whose payload its handler refuses, and returns its id once it is dead."""

    def bury() -> str:
        said = served.run("submit", "text.analyze", "--arg", "words=1", "--json")
        task_id: str = said.json["id"]
        assert served.run("tasks", "wait", task_id).code == 1
        return task_id

    return bury


def test_dead_letters_are_listed_shown_redriven_and_purged(served: Cli, buried: Callable[[], str]) -> None:
    first, second = buried(), buried()
    listed = served.run("tasks", "dead", "list", "--type", "text.analyze", "--reason", "rejected", "--json").json
    assert {first, second} <= {task["id"] for task in listed["tasks"]}
    assert "does not fit" in listed["tasks"][0]["error"]
    assert first in served.run("tasks", "dead", "list").out
    assert served.run("tasks", "dead", "show", first, "--json").json["task"]["payload"] == {"words": 1}
    redriven = served.run("tasks", "dead", "redrive", first, "--json").json
    assert redriven == {"schema_version": 1, "kind": "redriven", "done": [first], "skipped": []}
    assert served.run("tasks", "wait", first).code == 1
    purged = served.run("tasks", "dead", "purge", "--text", "does not fit", "--yes")
    assert set(purged.out.split()) == {first, second}
    assert served.run("tasks", "show", first).code == 3


def test_purge_asks_first_and_forgets_nothing_without_an_answer(served: Cli, buried: Callable[[], str]) -> None:
    task_id = buried()
    refused = served.run("tasks", "dead", "purge", stdin="n\n")
    assert refused.code == 1
    assert served.run("tasks", "show", task_id).code == 0


def test_an_unknown_reason_names_those_there_are(served: Cli) -> None:
    said = served.run("tasks", "dead", "list", "--reason", "bored")
    assert said.code == 2
    assert "error, timeout, crashed, rejected" in said.err


def test_a_paused_type_waits_until_it_is_resumed(served: Cli, submitted: Callable[..., str]) -> None:
    assert served.run("pause", "--type", "text.analyze", "--json").json["task_types"] == ["text.analyze"]
    task_id = submitted()
    assert served.run("tasks", "wait", task_id, "--timeout", "300ms").code == 6
    assert served.run("resume", "--type", "text.analyze", "--json").json["task_types"] == []
    assert served.run("tasks", "wait", task_id).code == 0


def test_the_mesh_and_a_node_are_paused_and_resumed(served: Cli) -> None:
    assert "paused" in served.run("pause").out
    assert served.run("resume", "--json").json["mesh"] is False
    assert served.run("pause", "--node", "reader-1", "--json").json["nodes"] == ["reader-1"]
    assert served.run("resume", "--node", "reader-1", "--json").json["nodes"] == []
    both = served.run("pause", "--node", "reader-1", "--type", "text.analyze")
    assert (both.code, both.out) == (2, "")


def test_a_task_gets_another_priority(served: Cli, submitted: Callable[..., str]) -> None:
    task_id = submitted("--delay", "1h")
    assert served.run("tasks", "priority", task_id, "critical", "--json").json["task"]["priority"] == "critical"
    wrong = served.run("tasks", "priority", task_id, "urgent")
    assert wrong.code == 2
    assert "critical, high, normal, low, background" in wrong.err
    assert served.run("tasks", "cancel", task_id).code == 0


def test_the_doctor_audits_the_tasks(served: Cli, submitted: Callable[..., str]) -> None:
    submitted("--wait")
    report = served.run("doctor", "--repair", "--json").json
    audit = next(check for check in report["checks"] if check["name"] == "task audit")
    assert audit["state"] == "ok"
    assert "every invariant holds" in audit["detail"]


def test_the_completion_rate_and_the_capacity_are_shown(served: Cli, submitted: Callable[..., str]) -> None:
    submitted("--wait")
    rate = served.run("tasks", "rate", "--window", "1h", "--json").json
    assert rate["rate"] == rate["completed"] / (rate["completed"] + rate["failed"])
    assert "Completion Rate" in served.run("tasks", "rate").out
    totals = served.run("status", "--json").json["totals"]
    assert (totals["capacity"], totals["lost_capacity"]) == (8, 0)
