"""Rows A12, J1: node types that can be built, and capabilities that are advertised only when they are there."""

import subprocess
import sys

import pytest

from meshd.errors import InvalidArgumentError
from meshd.nodes.model import NodeType
from meshd.specialists.registry import SPECIALISTS, create_node, handlers_for

WITHOUT_THE_EXTRA = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in ("py3langid", "phonenumbers") else find(name, path, target)
PathFinder.find_spec = staticmethod(find_others)
"""


@pytest.mark.parametrize("node_type", list(SPECIALISTS))
def test_every_listed_type_can_be_built(node_type: str) -> None:
    node = create_node(node_type, name="n1")

    assert (node.name, node.type) == ("n1", node_type)
    assert node.task_types == set(handlers_for(node_type))


def test_a_language_expert_declares_what_it_is() -> None:
    profile = create_node(NodeType.LANGUAGE_EXPERT).profile

    assert profile.specializations == ("nlp", "text_processing", "language_understanding")
    assert {"language", "text.analyze"} <= profile.all_capabilities


def test_an_unknown_type_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidArgumentError, match="'wizard' is not one of general, language_expert"):
        create_node("wizard")


def test_without_the_extra_the_capability_is_not_advertised_and_the_expert_is_refused() -> None:
    script = (
        "from meshd.specialists.registry import create_node\n"
        "from meshd.errors import ConfigurationError\n"
        "print(sorted(create_node('general').task_types))\n"
        "try:\n    create_node('language_expert')\n"
        "except ConfigurationError as exc:\n    print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA + script], capture_output=True, text=True, check=True, timeout=60
    )

    offered, refused = done.stdout.splitlines()
    assert offered == "['echo']"
    assert refused.endswith("needs py3langid, phonenumbers, not installed here: pip install 'agent-meshd[language]'")
