"""Rows N1, N6, N8, N9: the SDK from a script, its types as JSON, and what a node process does not hold."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from meshd import Mesh
from meshd.nodes.model import Agent, Node, NodeProfile, NodeType, Vitals
from meshd.tasks.model import NewTask, Receipt, Task, TaskError, TaskFilter, TaskPolicy
from tests.rows.conftest import SOON, Start
from tests.rows.mesh_command import Command
from tests.rows.worker import Options
from tests.support.builders import a_profile, a_task

ROOT = Path(__file__).resolve().parents[2]


def round_trip(value: Any) -> Any:
    adapter = TypeAdapter[Any](cast("type[Any]", value.__class__))
    return adapter.validate_json(adapter.dump_json(value))


def test_a_script_of_ten_lines_lists_agents_submits_waits_and_syncs(command: Command) -> None:
    script = ROOT / "examples" / "ten_lines.py"
    code = [line for line in script.read_text().splitlines() if line and not line.startswith('"""')]
    assert len(code) <= 10
    command("enable", "--name", "counter", "--module", str(ROOT / "examples" / "my_handlers.py"))
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=command.folder,
            env=command.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        command("disable")
    assert done.stderr == ""
    agents, words, report = done.stdout.splitlines()
    assert (agents, words) == ("counter ['counter']", "6")
    assert report.startswith("UpkeepReport(")


def test_one_line_tells_that_meshd_is_there() -> None:
    line = "from meshd import Mesh, Node; print('meshd is available')"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "meshd is available\n"


async def test_what_the_store_says_is_the_same_after_json(mesh: Mesh, start: Start) -> None:
    await start("worker", Options(agents=(("ada", "reasoner", ("proof",)),), capabilities=("x",)))
    handle = await mesh.tasks.submit("fail", times=1, context={"a": 1}, requires=["x"])
    await handle.result(timeout=SOON)
    node, task = await mesh.nodes.get("worker"), await handle.status()
    assert isinstance(node, Node)
    assert isinstance(task, Task)
    assert round_trip(node) == node
    assert round_trip(task) == task
    assert round_trip(handle.receipt) == handle.receipt
    assert isinstance(handle.receipt, Receipt)
    assert isinstance(task.errors[0], TaskError)
    saved = await mesh.memory.put("k", {"a": [1, None]}, note="why")
    assert round_trip(saved.winner) == saved.winner


@pytest.mark.parametrize(
    "value",
    [
        a_profile(agents=[Agent(id="ada", name="Ada", role="reasoner", capabilities=frozenset({"proof"}))]),
        a_task(requires=["a", "b"], context=b"{}"),
        Vitals(open_tasks=2, cpu_percent=1.5),
        TaskPolicy(max_attempts=4),
        TaskFilter(type="x"),
        NodeType.GENERAL,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_callers_make_is_the_same_after_json(value: NodeProfile | NewTask | Vitals) -> None:
    assert round_trip(value) == value


async def test_a_node_process_holds_no_graph_and_no_votes(mesh: Mesh, start: Start) -> None:
    await start("worker", Options(settings={"roles": {"play": ()}, "peers": {"enabled": "off"}}))
    held = await (await mesh.tasks.submit("inventory")).result(timeout=SOON)
    assert "meshd.runtime.worker.Worker" in held["types"]
    assert (
        set(held["modules"])
        & {
            *("meshd.electors", "meshd.runtime.duties", "meshd.runtime.roles", "meshd.runtime.voting"),
            *("meshd.topology.fabric", "meshd.topology.keeping", "meshd.topology.service", "meshd.topology.usage"),
            *("meshd.votes.consensus", "meshd.votes.leadership", "meshd.votes.service", "meshd.votes.tally"),
            *("meshd.groups.service", "meshd.mesh"),
        }
        == set()
    )
    words = ("graph", "edge", "topology", "proposal", "vote", "quorum", "consensus", "electorate")
    named = {kind.rpartition(".")[2] for kind in held["types"] if any(word in kind.lower() for word in words)}
    enums = {"Choice", "ProposalState", "ProposalType", "Shape", "Waggle", "WeightRule"}
    assert named <= enums | {"TopologySettings", "VotesSettings", "EdgeRules", "Quorum"}
