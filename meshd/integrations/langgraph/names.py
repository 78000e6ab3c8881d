"""LangGraph's namespaces and keys as keys of the memory, and back. Pure.

Each part is escaped, so that a slash within one is no border: the names of different items differ.
"""

from collections.abc import Sequence
from urllib.parse import unquote

from langgraph.store.base import MatchCondition

Namespace = tuple[str, ...]


def key_of(prefix: str, namespace: Sequence[str], key: str) -> str:
    """Return the memory key of an item."""
    return prefix + "/".join(map(_escaped, (*namespace, key)))


def prefix_of(prefix: str, namespace: Sequence[str]) -> str:
    """Return what the memory keys of all items in and below a namespace start with."""
    return prefix + "".join(f"{_escaped(part)}/" for part in namespace)


def name_of(prefix: str, key: str) -> tuple[Namespace, str]:
    """Return namespace and key of the item that a memory key stands for."""
    *namespace, name = map(unquote, key.removeprefix(prefix).split("/"))
    return tuple(namespace), name


def is_match(namespace: Namespace, condition: MatchCondition) -> bool:
    """Return whether a namespace begins or ends as the condition says; `*` stands for any one part."""
    path = tuple(condition.path)
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", found) for wanted, found in zip(path, part, strict=True))


def _escaped(part: str) -> str:
    return "".join(char if char.isprintable() and char not in "%/" else _percent(char) for char in part)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())
