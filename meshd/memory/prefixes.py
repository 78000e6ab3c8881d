"""Rules by prefix: how the values under a part of the key space are written, and what two of them at once mean. Pure.

The longest prefix that fits a key decides, whole: rules do not add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshd.errors import InvalidArgumentError
from meshd.memory.model import MAX_KEY_BYTES, Policy, Strategy

SOURCES = ("hub", "planning", "general", "language", "sensor")
"""Kinds of nodes, the most trusted first, as `source_priority` ranks them unless the settings say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How values under one prefix are written."""

    prefix: str = ""
    strategy: Strategy = Strategy.EVENTUAL
    policy: str = Policy.LATEST_WINS
    """A `Policy`, or `custom:<name>`."""
    ttl_ms: int = 0
    """How long a value lasts that is written without a lifetime of its own; 0: for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one mesh."""

    default: Rule = field(default_factory=Rule)
    prefixes: Mapping[str, Rule] = field(default_factory=dict[str, Rule])

    def of(self, key: str) -> Rule:
        """Return the rule of the longest prefix that fits `key`."""
        fitting = [prefix for prefix in self.prefixes if key.startswith(prefix)]
        return self.prefixes[max(fitting, key=len)] if fitting else self.default


def rank_of(node_type: str, sources: Sequence[str] = SOURCES) -> int:
    """Return the rank of a node's versions under `source_priority`: higher wins, unknown types have 0.

    A source names a node type, or a word of one: `hub` is also `coordination_hub`.
    """
    words = {node_type, *node_type.split("_")}
    return next((len(sources) - at for at, source in enumerate(sources) if source in words), 0)


def check_key(key: str) -> str:
    """Return `key` unchanged if it may name an item.

    Raises:
        InvalidArgumentError: it is empty, over 512 bytes, or has a control character.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_KEY_BYTES or not key.isprintable():
        raise InvalidArgumentError(
            f"memory key {key!r}: use 1 to {MAX_KEY_BYTES} bytes of printable text, such as notes/paris"
        )
    return key
