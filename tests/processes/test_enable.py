"""`mesh enable` and `mesh disable`, as two terminals see them."""

import json
import signal
import socket
from time import monotonic

import pytest

from meshd.runtime.local import known_name, local_node
from meshd.runtime.processes import identify
from tests.processes.conftest import Place
from tests.support.waiting import wait_until


async def test_enable_returns_when_others_see_the_node_and_disable_when_it_is_gone(place: Place) -> None:
    first = place.mesh("enable")
    local = local_node(place.state)
    assert local is not None
    assert first.stdout == f"enabled: node {local.name}\n"
    assert await place.is_alive(local.name, local.process.pid)
    assert place.ps()[local.name]["verdict"] == "alive"

    assert place.mesh("enable").stdout == f"already enabled: node {local.name}\n"
    assert local_node(place.state) == local

    assert place.mesh("disable").stdout == f"disabled: node {local.name} left\n"
    assert identify(local.process.pid) is None
    assert await place.record(local.name) is None
    assert not place.state.local_pid.exists()

    assert "not enabled" in place.mesh("disable").stdout
    assert place.processes() == []


async def test_the_node_keeps_its_id_across_restarts(place: Place) -> None:
    place.mesh("enable")
    name = known_name(place.state)
    assert name is not None
    assert name.startswith(socket.gethostname()[:8])
    place.mesh("disable")
    assert place.mesh("enable").stdout == f"enabled: node {name}\n"
    place.mesh("disable")


def test_what_this_machine_does_is_json_when_asked_for(place: Place) -> None:
    said = [
        json.loads(place.mesh(*command, "--json").stdout)
        for command in (
            ["enable", "--name", "n1"],
            ["enable"],
            ["logs", "n1", "-n", "1"],
            ["ps"],
            ["disable"],
            ["down"],
        )
    ]
    assert {document["schema_version"] for document in said} == {1}
    kinds = [document["kind"] for document in said]
    assert kinds == ["enabled", "enabled", "log_line", "processes", "disabled", "down"]
    assert [document["was_running"] for document in said if "was_running" in document] == [False, True, True]


async def test_a_node_in_another_mesh_is_named_by_enable_and_status(place: Place) -> None:
    place.mesh("enable", "--name", "n1", "--mesh", "far")
    assert "n1 is in mesh far at sqlite:///" in place.mesh("enable", code=7).stderr
    assert "n1 is in mesh far at sqlite:///" in place.mesh("status").stdout
    assert "already enabled" in place.mesh("enable", "--mesh", "far").stdout
    place.mesh("disable")
    assert not place.state.local_home.exists()


async def test_enable_is_the_way_out_of_a_disabled_mesh(place: Place) -> None:
    (place.folder / "config.yaml").write_text("agent_mesh: {enabled: false}\n")
    refused = place.mesh("node", "start", "--name", "n1", code=2)
    assert "mesh enable" in refused.stderr
    place.mesh("enable", "--name", "n1")
    assert (await place.record("n1")) is not None
    place.mesh("disable")


async def test_an_idle_node_leaves_in_under_a_second(place: Place) -> None:
    place.mesh("enable", "--name", "n1")
    local = local_node(place.state)
    assert local is not None
    begun = monotonic()
    local.process.send(signal.SIGTERM)
    await wait_until(lambda: identify(local.process.pid) is None)
    assert monotonic() - begun < 1
    assert await place.record("n1") is None


async def test_a_killed_node_is_cleaned_up_by_disable_and_replaced_by_enable(place: Place) -> None:
    place.mesh("enable", "--name", "n1")
    killed = local_node(place.state)
    assert killed is not None
    killed.process.send(signal.SIGKILL)
    await wait_until(lambda: local_node(place.state) is None)
    assert "not enabled" in place.mesh("disable").stdout
    assert await place.record("n1") is None

    place.mesh("enable")
    again = local_node(place.state)
    assert again is not None
    assert again.name == "n1"
    again.process.send(signal.SIGKILL)
    await wait_until(lambda: local_node(place.state) is None)
    place.mesh("enable")
    assert (await place.record("n1")) is not None
    place.mesh("disable")


async def test_a_node_that_cannot_start_says_why_and_gives_its_exit_code(place: Place) -> None:
    (place.folder / "broken.py").write_text("import json\nraise RuntimeError('no such luck')\n")
    failed = place.mesh("enable", "--module", "broken.py", code=2)
    assert "RuntimeError: no such luck" in failed.stderr
    assert "broken.py:2" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not place.state.local_pid.exists()
    assert place.processes() == []


@pytest.mark.parametrize("command", [["enable"], ["disable"], ["up", "-f", "fleet.yaml"]])
def test_a_state_folder_that_cannot_be_made_is_a_configuration_error(place: Place, command: list[str]) -> None:
    (place.folder / "taken").touch()
    (place.folder / "fleet.yaml").write_text("nodes: [{name: n1}]\n")
    refused = place.mesh(*command, code=2, MESHD_STATE_DIR="taken/state")
    assert "cannot be written: Not a directory" in refused.stderr


def test_an_unreachable_store_is_said_at_once(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        place.mesh("enable", "--url", url, code=4)
    assert place.processes() == []


async def test_three_flags_are_enough_to_join_alone(place: Place) -> None:
    node = place.begin("node", "start", "--name=s1", "--role=sales", "--capabilities=upselling,order_processing")
    try:
        await wait_until(lambda: place.is_alive("s1", node.pid), timeout=20)
        record = await place.record("s1")
        assert record is not None
        assert record.profile.capabilities >= {"upselling", "order_processing"}
        assert [agent.role for agent in record.profile.agents] == ["sales"]
    finally:
        node.send_signal(signal.SIGINT)
        node.communicate(timeout=10)
    assert node.returncode == 0
    assert await place.record("s1") is None


async def test_a_name_that_lives_elsewhere_is_refused(place: Place) -> None:
    foreground = place.begin("node", "start", "--name", "n1")
    try:
        await wait_until(lambda: place.is_alive("n1", foreground.pid), timeout=20)
        refused = place.mesh("enable", "--name", "n1", code=7)
        assert str(foreground.pid) in refused.stderr
    finally:
        foreground.send_signal(signal.SIGINT)
        foreground.communicate(timeout=10)
    assert foreground.returncode == 0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1", "no handlers"),
        ("handlers = {}", "no handlers"),
        ("import surely_absent", "No module named 'surely_absent'"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_module_without_handlers_is_a_configuration_error(place: Place, code: str, says: str) -> None:
    (place.folder / "mine.py").write_text(code)
    result = place.mesh("node", "start", "--name", "n1", "--module", "mine", code=2)
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in place.mesh("--debug", "node", "start", "--module", "mine", code=2).stderr


def test_a_missing_module_is_a_configuration_error(place: Place) -> None:
    assert "was not found" in place.mesh("node", "start", "--module", "nowhere", code=2).stderr
    assert "does not exist" in place.mesh("node", "start", "--module", "nowhere.py", code=2).stderr
