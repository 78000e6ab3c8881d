"""`mesh memory`, as a person or a script uses it."""

import asyncio
import json
import select
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from meshd.backends import open_backend
from meshd.backends.port import BackendOptions
from meshd.clock import system_clock
from meshd.memory.merging import plain
from meshd.memory.model import Batch, Header
from meshd.memory.sealing import Seal
from tests.cli.conftest import MESH, Cli


@pytest.fixture
def memory(cli: Cli) -> Cli:
    """A folder whose mesh knows something."""
    assert cli.run("memory", "put", "notes/paris", '{"rain": true, "seen": 1}', "--agent", "scout").code == 0
    return cli


def written_apart(cli: Cli, key: str, values: Sequence[object]) -> None:
    """Write a key under `manual`, each value by a node that knows of no other."""

    async def write() -> None:
        backend = await open_backend(f"sqlite:///{cli.folder}/.meshd/mesh.db", BackendOptions())
        for number, value in enumerate(values):
            actor = f"n{number}~{key}"
            header = Header(
                actor=actor, seq=1, observed={}, ms=system_clock() + number, key=key, policy="manual", node=f"n{number}"
            )
            version = Seal().make(header, plain(value)(header))
            await backend.memory.push(Batch(actor=actor, first=1, last=1, versions=[version]))
        await backend.aclose()

    asyncio.run(write())


def read(cli: Cli, key: str, *words: str) -> Any:
    return cli.run("memory", "get", key, *words, "--json").json["value"]


def test_a_value_is_put_and_read_by_another_process(memory: Cli) -> None:
    said = memory.run("memory", "get", "notes/paris")
    assert json.loads(said.out) == {"rain": True, "seen": 1}
    document = memory.run("memory", "get", "notes/paris", "--json").json
    assert (document["kind"], document["agent"], document["is_conflict"]) == ("memory", "scout", False)
    listed = memory.run("memory", "list", "notes/")
    assert "notes/paris" in listed.out
    assert "scout" in listed.out


@pytest.mark.parametrize(
    ("given", "value"), [("3", 3), ("null", None), ("hello there", "hello there"), ("-", {"a": [1]}), ("@v.json", [2])]
)
def test_a_value_is_json_or_text_or_read_from_a_file(given: str, value: object, cli: Cli) -> None:
    (cli.folder / "v.json").write_text("[2]")
    assert cli.run("memory", "put", "k", given, stdin='{"a": [1]}').code == 0
    assert read(cli, "k") == value


def test_what_is_not_there_is_not_found(memory: Cli) -> None:
    for words in (
        ("get", "none"),
        ("delete", "none"),
        ("log", "none"),
        ("blame", "none"),
        ("resolve", "none", "--take", "x:1"),
    ):
        said = memory.run("memory", *words)
        assert (said.code, said.out) == (3, ""), words
        assert "mesh memory list" in said.err


def test_a_conditional_write_is_refused_with_the_code_of_conflicts(memory: Cli) -> None:
    version = memory.run("memory", "get", "notes/paris", "--json").json["version"]
    assert memory.run("memory", "put", "notes/paris", "2", "--over", version).code == 0
    assert memory.run("memory", "put", "notes/paris", "3", "--over", version).code == 7
    assert memory.run("memory", "put", "notes/paris", "3", "--create").code == 7
    assert read(memory, "notes/paris") == 2


def test_a_value_with_a_lifetime_is_gone_after_it(cli: Cli) -> None:
    cli.run("memory", "put", "k", "1", "--ttl", "1ms")
    assert cli.run("memory", "get", "k").code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("put", "k", "1", "--strategy", "hope"),
        ("put", "k", "1", "--policy", "coin"),
        ("put", "k", "1", "--acks", "some"),
        ("put", "k", "1", "--priority", "11"),
        ("put", "k", "@missing.json"),
        ("put", "k", "1", "--create", "--over", "a:1"),
        ("get", "k", "--at", "sometime"),
        ("rollback",),
        ("rollback", "k", "--by", "scout"),
        ("rollback", "k", "--dry-run"),
        ("resolve", "k"),
    ],
)
def test_wrong_words_are_usage_errors(words: tuple[str, ...], cli: Cli) -> None:
    assert cli.run("memory", *words).code == 2


def test_the_past_of_a_key_can_be_looked_at_and_set_back(memory: Cli) -> None:
    memory.run(
        "memory", "put", "notes/paris", '{"rain": false, "seen": 1}', "--agent", "sage", "--note", "looked again"
    )
    log = memory.run("memory", "log", "notes/paris", "--json").json["versions"]
    assert [(each["agent"], each["is_shown"]) for each in log] == [("sage", True), ("scout", False)]
    assert "looked again" in memory.run("memory", "log", "notes/paris").out
    assert memory.run("memory", "diff", "notes/paris").out == "- rain: true\n+ rain: false\n"
    blamed = memory.run("memory", "blame", "notes/paris", "--json").json["parts"]
    assert {part["path"]: part["agent"] for part in blamed} == {"rain": "sage", "seen": "scout"}
    assert read(memory, "notes/paris", "--at", log[1]["version"]) == {"rain": True, "seen": 1}
    assert "1 set back" in memory.run("memory", "rollback", "notes/paris").out
    assert read(memory, "notes/paris") == {"rain": True, "seen": 1}


def test_all_that_an_agent_wrote_is_undone_and_that_is_undone_too(memory: Cli) -> None:
    for key in ("a", "notes/paris"):
        memory.run("memory", "put", key, "0", "--agent", "bad")
    dry = memory.run("memory", "rollback", "--by", "bad", "--since", "1h", "--dry-run", "--json").json
    assert (dry["is_dry_run"], [each["key"] for each in dry["undone"]]) == (True, ["a", "notes/paris"])
    done = memory.run("memory", "rollback", "--by", "bad", "--since", "1h")
    assert "2 set back, 0 skipped" in done.out
    assert memory.run("memory", "get", "a").code == 3
    operation = done.out.strip().rpartition(" ")[2]
    assert memory.run("memory", "rollback", "--operation", operation).code == 0
    assert read(memory, "a") == 0


def test_a_person_sees_both_sides_of_a_conflict_and_settles_it(memory: Cli) -> None:
    written_apart(memory, "plan", ["stay", "go"])
    said = memory.run("memory", "get", "plan")
    assert (said.out, "2 versions" in said.err) == ('"go"\n', True)
    (check,) = [each for each in memory.run("doctor", "--json").json["checks"] if each["name"] == "memory"]
    assert (check["state"], check["detail"]) == ("warn", "1 keys are in conflict")
    (conflict,) = memory.run("memory", "conflicts", "--json").json["conflicts"]
    assert [side["value"] for side in conflict["sides"]] == ["go", "stay"]
    shown = memory.run("memory", "conflicts").out
    assert "plan (manual: waits for a person)" in shown
    assert "on n0" in shown
    assert memory.run("memory", "resolve", "plan", "--take", "3").code == 3
    assert memory.run("memory", "resolve", "plan", "--take", "2", "--note", "rain").code == 0
    assert read(memory, "plan") == "stay"
    assert memory.run("memory", "conflicts").out == "no conflicts\n"
    written_apart(memory, "other", [1, 2])
    assert memory.run("memory", "resolve", "other", "--value", "3").code == 0
    assert read(memory, "other") == 3


def test_counters_and_sets_are_changed_in_place(cli: Cli) -> None:
    assert cli.run("memory", "add", "visits", "2").out == "2\n"
    assert cli.run("memory", "add", "visits", "--", "-0.5").out == "1.5\n"
    assert cli.run("memory", "set-add", "cities", "Paris", '{"name": "Oslo"}').code == 0
    left = cli.run("memory", "set-remove", "cities", "Paris", "--json").json
    assert left["value"] == [{"name": "Oslo"}]


def test_a_command_runs_while_a_key_is_held(cli: Cli) -> None:
    held = f"{MESH} memory lease k -- true; echo code $?; echo token $MESH_LEASE_TOKEN"
    said = cli.run("memory", "lease", "k", "--", "sh", "-c", held)
    assert said.code == 0
    assert "code 7" in said.out
    assert int(said.out.split("token ")[1]) > 0
    assert cli.run("memory", "lease", "k", "--", "sh", "-c", "exit 9").code == 9
    assert cli.run("memory", "get", "k").code == 3


def test_changes_are_printed_as_they_come(memory: Cli) -> None:
    with memory.start("memory", "watch", "notes/", "--json") as process:
        assert process.stdout is not None
        for number in range(100):
            memory.run("memory", "put", "notes/rome", str(number))
            if ready(process):
                break
        document = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert (document["kind"], document["key"], document["is_deletion"]) == ("memory_change", "notes/rome", False)


def ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


def test_a_quarantined_node_is_refused_and_readmitted(memory: Cli) -> None:
    assert memory.run("memory", "quarantine", "n1", "--reason", "poisoned").code == 0
    said = memory.run("memory", "put", "k", "1", MESHD_NODE_NAME="n1")
    assert said.code == 2
    assert "quarantine" in said.err
    assert memory.run("memory", "readmit", "n1").code == 0
    assert memory.run("memory", "put", "k", "1", MESHD_NODE_NAME="n1").code == 0
    assert memory.run("memory", "readmit", "n1").code == 3


def test_the_rules_of_the_settings_hold_for_commands(cli: Cli) -> None:
    (cli.folder / "config.yaml").write_text(
        "agent_mesh: {memory_sync: {max_item_bytes: 2048, prefixes: {brief/: {ttl_seconds: 0.001, conflict: manual}}}}"
    )
    cli.run("memory", "put", "brief/k", "1")
    assert cli.run("memory", "get", "brief/k").code == 3
    assert cli.run("memory", "put", "k", "@big.json", stdin=None).code == 2
    (cli.folder / "big.json").write_text(json.dumps([str(number) for number in range(5_000)]))
    said = cli.run("memory", "put", "k", "@big.json")
    assert said.code == 2
    assert "max_item_bytes" in said.err
