"""What the reading commands say about a mesh with one enabled node, told by processes that share nothing with it."""

import json
from collections.abc import Callable

import pytest

from tests.cli.conftest import Cli

SAMPLE_STATUS = (
    "Agent Mesh Status: ENABLED", "Local Node:", "Node ID: reader-1", "Type: language_expert", "Protocol: sqlite_local",
    "Load: ", "Mesh Statistics:", "Total Nodes: 1", "Active Nodes: 1", "Pending Tasks: ", "Running Tasks: ",
    "Completed Tasks: ", "Memory Sync Items: ", "Known Nodes (1):", "Backends:", "Recent Tasks:", "Commands: ",
)  # fmt: skip
SAMPLE_AGENTS = (
    "Mesh Agents Overview", "ID: reader-1", "Type: language_expert", "Status: ", "Host: ", ":9900", "Load: ",
    "Memory: ", "CPU: ", "Avg Response: ", "Tasks Done: ", "Error Rate: ", "Capabilities: ", "Specializations: ",
    "Last Heartbeat: active", "Agent: ",
)  # fmt: skip


def test_status_shows_every_section_of_the_sample(served: Cli) -> None:
    said = served.run("status")
    assert said.code == 0
    assert [part for part in SAMPLE_STATUS if part not in said.out] == []
    assert "\x1b" not in said.out
    assert said.err == ""


def test_agents_shows_every_field_of_the_sample(served: Cli) -> None:
    said = served.run("agents")
    assert [part for part in SAMPLE_AGENTS if part not in said.out] == []


def test_the_numbers_are_true(served: Cli, submitted: Callable[..., str]) -> None:
    before = served.run("status", "--json").json["totals"]
    submitted("--wait")
    submitted("--delay", "1h")
    after = served.run("status", "--json").json
    assert after["totals"]["completed"] == before["completed"] + 1
    assert after["totals"]["pending"] == before["pending"] + 1
    assert after["local_node"]["id"] == "reader-1"
    assert (after["schema_version"], after["enabled"]) == (1, True)
    assert after["recent_tasks"][0]["state"] == "scheduled"


def test_the_result_is_there_for_any_process(served: Cli, submitted: Callable[..., str]) -> None:
    task_id = submitted()
    result = served.run("tasks", "wait", task_id).json
    assert result["counts"]["words"] == 4
    shown = served.run("tasks", "show", task_id, "--json").json["task"]
    assert (shown["state"], shown["node"], shown["payload"]) == ("completed", "reader-1", {"text": "Not bad at all."})
    assert shown["result"] == result
    assert "State: COMPLETED" in served.run("tasks", "show", task_id).out


def test_submit_takes_a_payload_from_stdin_and_from_a_file(served: Cli) -> None:
    (served.folder / "job.json").write_text(json.dumps({"text": "One. Two."}))
    from_file = served.run("submit", "text.analyze", "--payload", "@job.json", "--wait", "--json")
    from_stdin = served.run(
        "submit", "text.analyze", "--payload", "-", "--wait", "--json", stdin='{"text": "One. Two."}'
    )
    assert from_file.json["result"]["counts"]["sentences"] == from_stdin.json["result"]["counts"]["sentences"] == 2


def test_an_idempotency_key_names_one_task(served: Cli, submitted: Callable[..., str]) -> None:
    first = submitted("--key", "once")
    again = served.run("submit", "text.analyze", "--arg", "text=Not bad at all.", "--key", "once", "--json").json
    assert (again["id"], again["created"]) == (first, False)


def test_a_delayed_task_can_be_cancelled_and_redriven(served: Cli, submitted: Callable[..., str]) -> None:
    task_id = submitted("--delay", "1h")
    cancelled = served.run("tasks", "cancel", task_id, "--reason", "wrong text", "--json").json["task"]
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "wrong text")
    waited = served.run("tasks", "wait", task_id)
    assert (waited.code, waited.out) == (1, "")
    assert "is cancelled: wrong text" in waited.err
    assert served.run("tasks", "redrive", task_id).code == 0
    assert served.run("tasks", "wait", task_id).code == 0
    assert served.run("tasks", "redrive", task_id).code == 7


def test_waiting_longer_than_asked_is_a_timeout(served: Cli, submitted: Callable[..., str]) -> None:
    task_id = submitted("--delay", "1h")
    said = served.run("tasks", "wait", task_id, "--timeout", "50ms")
    assert said.code == 6
    assert "hint: " in said.err


def test_tasks_are_listed_by_state_and_by_page(served: Cli, submitted: Callable[..., str]) -> None:
    ids = [submitted("--delay", "1h") for _ in range(2)]
    page = served.run("tasks", "list", "--state", "scheduled", "--limit", "1", "--json").json
    assert [task["id"] for task in page["tasks"]] == ids[1:]
    following = served.run("tasks", "list", "--state", "scheduled", "--cursor", page["cursor"], "--json").json
    assert following["tasks"][0]["id"] == ids[0]
    assert {task["state"] for task in following["tasks"]} == {"scheduled"}
    assert ids[1] in served.run("tasks", "list").out


def test_nodes_are_filtered_by_what_they_hold_and_are(served: Cli) -> None:
    def found(*words: str) -> list[str]:
        return [node["id"] for node in served.run(*words, "--json").json["nodes"]]

    assert found("nodes", "list", "--capability", "text.analyze,nlp") == ["reader-1"]
    assert found("nodes", "list", "--capability", "telepathy") == []
    assert found("agents", "--type", "language_expert") == ["reader-1"]
    assert found("agents", "--role", "nobody") == []
    assert served.run("nodes", "show", "reader-1", "--json").json["node"]["task_types"]
    assert "Node reader-1" in served.run("nodes", "show", "reader-1").out


def test_sync_waits_for_a_fresh_heartbeat_of_every_node(served: Cli) -> None:
    said = served.run("sync", "--json")
    assert said.code == 0
    assert (said.json["confirmed"], [row["id"] for row in said.json["nodes"]]) == (True, ["reader-1"])
    said = served.run("sync")
    assert "1 of 1 nodes confirmed, completed" in said.out
    assert "1 replicas in step" in said.out


def test_doctor_finds_a_sound_mesh_healthy(served: Cli) -> None:
    said = served.run("doctor", "--json")
    assert said.code == 0
    names = {check["name"] for check in said.json["checks"]}
    assert names == {
        "package", "settings", "state folder", "connectivity", "store", "performance", "clock", "ports", "heartbeats",
        "waiting tasks", "task audit", "memory", "registration",
    }  # fmt: skip
    assert {check["state"] for check in said.json["checks"]} == {"ok"}


@pytest.mark.parametrize("script", ["mesh_status", "mesh_agents", "mesh_sync"])
def test_the_one_word_scripts_are_the_commands(script: str, served: Cli) -> None:
    said = served.run("--json", script=script)
    assert (said.code, said.json["kind"]) == (0, script.removeprefix("mesh_"))


def test_the_shell_takes_slashed_and_plain_commands_from_a_pipe(served: Cli) -> None:
    said = served.run("shell", stdin="/mesh_status --json\n\n# a remark\nagents --json\nhelp\nexit\nstatus\n")
    kinds = [json.loads(line)["kind"] for line in said.out.splitlines() if line.startswith("{")]
    assert (said.code, kinds) == (0, ["status", "agents"])
    assert "Usage: mesh" in said.out


def test_the_shell_goes_on_after_an_error_and_ends_with_the_last_code(served: Cli) -> None:
    said = served.run("shell", "--json", stdin="nodes show nobody\nnodes list\nnodes show nobody\n")
    assert said.code == 3
    assert said.err.count("error: node 'nobody'") == 2
    assert json.loads(said.out)["kind"] == "nodes"


def test_completion_offers_live_names(served: Cli) -> None:
    words = {"COMP_WORDS": "mesh nodes show ", "COMP_CWORD": "3", "_MESH_COMPLETE": "complete_bash"}
    assert served.run(**words).out.split() == ["reader-1"]


def test_a_drained_node_says_so(cli: Cli) -> None:
    quick = Cli(cli.folder, {"MESHD_HEARTBEAT_INTERVAL_SECONDS": "0.1", "MESHD_NODE_TIMEOUT_SECONDS": "1"})
    assert quick.run("enable", "--name", "n1").code == 0
    try:
        assert quick.run("nodes", "drain", "n1", "--json").json["node"]["draining"]
        assert quick.run("nodes", "drain", "nobody").code == 3
    finally:
        quick.run("disable", "--grace", "1")


def test_sync_names_a_node_that_does_not_confirm(cli: Cli) -> None:
    quick = Cli(cli.folder, {"MESHD_HEARTBEAT_INTERVAL_SECONDS": "0.1", "MESHD_NODE_TIMEOUT_SECONDS": "1"})
    with quick.start("node", "start", "--name", "n1") as node:
        while "n1" not in quick.run("nodes", "list").out:
            assert node.poll() is None
        node.kill()
    said = quick.run("sync", "--json")
    assert (said.code, said.json["confirmed"]) == (8, False)
    assert said.json["nodes"][0]["id"] == "n1"
    assert "sent no heartbeat" in quick.run("sync").out or quick.run("agents").out.count("offline") == 1


def test_a_node_reports_what_the_settings_say_of_it(cli: Cli) -> None:
    said = {
        "MESHD_HOST": "edge-7",
        "MESHD_PORT": "17002",
        "MESHD_CAPABILITIES": "reasoning",
        "MESHD_SPECIALIZATIONS": "law",
        "MESHD_MAX_CAPACITY": "3",
        "MESHD_AGENTS": '[{"name": "scout", "role": "analyzer", "capabilities": ["seeing"]}]',
    }
    quick = Cli(cli.folder, said)
    assert quick.run("enable", "--name", "n1").code == 0
    try:
        node = quick.run("nodes", "show", "n1", "--json").json["node"]
    finally:
        quick.run("disable", "--grace", "1")
    assert (node["host"], node["port"], node["capacity"]) == ("edge-7", 17002, 3)
    assert {"reasoning", "seeing"} <= set(node["capabilities"])
    assert "law" in node["specializations"]
    assert [agent["name"] for agent in node["agents"]] == ["scout"]
