"""What the command line says about who reaches whom, and what became of nodes."""

import os

from meshd.clock import system_clock
from meshd.runtime.own_view import OwnView, write
from meshd.runtime.state_dir import StateDir
from tests.cli.conftest import Cli

NOWHERE = "redis://127.0.0.1:1/0"


def own_view(cli: Cli, *, hub_reachable: bool = False) -> None:
    """Leave the view of a node of this machine that runs: this process."""
    view = OwnView(
        mesh="default",
        node="n4",
        pid=os.getpid(),
        incarnation=1,
        address="127.0.0.1:9",
        at_ms=system_clock(),
        hub_reachable=hub_reachable,
        hub_since_ms=system_clock(),
        reached={"n5": 0.4},
        unreached={"n1": system_clock() - 9_000, "n2": system_clock() - 8_000},
        suspected=("n1",),
    )
    write(StateDir(cli.folder / "state").view_file("default", "n4"), view)


def test_a_mesh_of_one_node_is_whole(served: Cli) -> None:
    found = served.run("partitions", "--json").json
    assert (found["source"], found["stale"], found["whole"]) == ("hub", False, True)
    assert [(side["nodes"], side["holds_hub"]) for side in found["partitions"]] == [(["reader-1"], True)]
    said = served.run("partitions").out
    assert said.startswith("Mesh: WHOLE")
    assert served.run("status", "--json").json["mesh_state"] == {"state": "whole", "detail": ""}
    assert "Mesh State: WHOLE" in served.run("status").out


def test_a_node_is_shown_with_its_evidence(served: Cli) -> None:
    node = served.run("nodes", "show", "reader-1", "--json").json["node"]
    assert (node["condition"], node["flaps"]) == ("alive", 0)
    assert node["evidence"]["lines"][0].startswith("last beat ")
    said = served.run("nodes", "show", "reader-1").out
    assert [
        part for part in ("Verdict: alive", "Evidence: last beat ", "Beats: every ", "Flaps: 0") if part not in said
    ] == []
    (listed,) = served.run("nodes", "list", "--json").json["nodes"]
    assert (listed["id"], listed["condition"]) == ("reader-1", "alive")
    assert "VERDICT" in served.run("nodes", "list").out


def test_history_tells_what_happened_and_how_much_of_the_time_each_was_there(served: Cli) -> None:
    found = served.run("nodes", "history", "reader-1", "--json").json
    assert found["events"][0]["event"] == "joined"
    (uptime,) = found["uptimes"]
    assert (uptime["node"], uptime["share"], uptime["failures"]) == ("reader-1", 1.0, 0)
    assert uptime["agents"]
    assert "100.00%" in served.run("nodes", "history").out


def test_with_the_store_away_the_view_of_this_machines_nodes_is_shown_as_stale(cli: Cli) -> None:
    own_view(cli)
    away = {"MESHD_URL": NOWHERE, "MESHD_STATE_DIR": str(cli.folder / "state"), "MESHD_STORE_TIMEOUT_SECONDS": "1"}
    said = cli.run("partitions", "--json", **away)
    assert said.code == 0
    assert (said.json["source"], said.json["stale"], said.json["whole"]) == ("n4", True, False)
    assert [(side["nodes"], side["holds_hub"]) for side in said.json["partitions"]] == [(["n4", "n5"], False)]
    assert (said.json["cut_from_hub"], said.json["unheard"]) == (["n4"], ["n1", "n2"])
    assert "this is what the nodes here see by themselves" in said.err
    assert "(stale)" in cli.run("partitions", **away).out


def test_with_the_store_away_and_no_node_here_the_error_is_told(cli: Cli) -> None:
    said = cli.run("partitions", MESHD_URL=NOWHERE, MESHD_STORE_TIMEOUT_SECONDS="1")
    assert (said.code, said.out) == (4, "")
