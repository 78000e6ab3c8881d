"""Merging what two wrote over the same value: what only one of them changed is as that one left it. Pure."""

from typing import Any, TypeVar

from meshd.errors import ConflictError
from meshd.memory.differences import ABSENT

T = TypeVar("T")


class UnmergeableError(ConflictError):
    """Both changed the same part, in ways that exclude each other."""


def merged(base: Any, mine: Any, theirs: Any, path: str = "") -> Any:
    """Return `theirs` with what `mine` changed since `base`; `ABSENT` stands for no value.

    Objects are merged name by name. Of a list, what one side appended follows whatever the other side made of it.

    Raises:
        UnmergeableError: both changed a part otherwise; the message names it.
    """
    if theirs == base:
        return mine
    if mine == base:
        return theirs
    if (objects := _all(dict, {}, base, mine, theirs)) is not None:
        return _objects(*objects, path)
    if (lists := _all(list, [], base, mine, theirs)) is not None:
        return _lists(*lists, path)
    if mine == theirs:
        return mine
    raise UnmergeableError(f"{path or 'the value'} was changed by somebody else meanwhile; read it again")


def _all(kind: type[T], empty: T, base: Any, mine: Any, theirs: Any) -> tuple[T, T, T] | None:
    """Return the three if all are of one kind, nothing being an empty one; else `None`."""
    base = empty if base is ABSENT else base
    if isinstance(base, kind) and isinstance(mine, kind) and isinstance(theirs, kind):
        return base, mine, theirs
    return None


def _objects(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], path: str) -> dict[str, Any]:
    names = [*theirs, *(name for name in mine if name not in theirs)]
    parts = {
        name: merged(
            base.get(name, ABSENT), mine.get(name, ABSENT), theirs.get(name, ABSENT), f"{path}.{name}" if path else name
        )
        for name in names
    }
    return {name: part for name, part in parts.items() if part is not ABSENT}


def _lists(base: list[Any], mine: list[Any], theirs: list[Any], path: str) -> list[Any]:
    if mine[: len(base)] == base:
        return [*theirs, *mine[len(base) :]]
    if theirs[: len(base)] == base:
        return [*mine, *theirs[len(base) :]]
    raise UnmergeableError(f"{path or 'the list'} was changed by somebody else meanwhile; read it again")
