"""`mesh.yaml`: what it says, and what it may not say."""

from pathlib import Path

import pytest

from meshd.errors import ConfigurationError, UnknownSettingError
from meshd.runtime.fleet import Fleet, load_fleet


def load(tmp_path: Path, text: str) -> Fleet:
    path = tmp_path / "mesh.yaml"
    path.write_text(text)
    return load_fleet(path)


def test_replicas_become_processes_with_names_of_their_own(tmp_path: Path) -> None:
    fleet = load(
        tmp_path, "nodes: [{name: w, replicas: 2, capabilities: [a]}, {name: solo}, {name: idle, replicas: 0}]"
    )
    assert [process.name for process in fleet.processes()] == ["w-1", "w-2", "solo"]
    assert fleet.processes()[0].capabilities == ["a"]


def test_an_unknown_key_is_named_with_the_nearest_that_exists(tmp_path: Path) -> None:
    with pytest.raises(UnknownSettingError) as error:
        load(tmp_path, "nodes: [{name: w, capabilites: [a]}]")
    assert error.value.key == "nodes.0.capabilites"
    assert error.value.nearest == "capabilities"
    assert str(tmp_path / "mesh.yaml") in str(error.value)


def test_an_unknown_key_at_the_top_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(UnknownSettingError, match="did you mean 'nodes'"):
        load(tmp_path, "node: [{name: w}]")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nodes: [{name: a}, {name: a}]", "'a' is used twice"),
        ("nodes: [{name: a, replicas: 2}, {name: a-1}]", "'a-1' is used twice"),
        ("nodes: [{name: a/b}]", "nodes.0.name"),
        ("nodes: [{name: a, concurrency: many}]", "nodes.0.concurrency"),
        ("nodes: [{name: a, concurrency: 0}]", "nodes.0.concurrency"),
        ("nodes: [{type: general}]", "nodes.0.name"),
        ("nodes: []", "nodes"),
        ("nodes: [", "not valid YAML"),
        ("", "the file"),
        ("just words", "the file"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load(tmp_path, text)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_fleet(tmp_path / "absent.yaml")
