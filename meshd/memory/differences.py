"""What changed between two values, and which version each part of a value comes from. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from meshd.memory.entries import Writing

ROOT = ""
"""Path of the whole value."""


class _Absent:
    """Stands where a value has no such part."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One part of a value that is not what it was."""

    path: str
    """Names and positions from the top, joined by dots; empty: the whole value."""
    before: Any
    """`None` also where there was nothing: see `kind`."""
    after: Any
    kind: str
    """`added`, `removed` or `changed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Where one part of a value comes from."""

    path: str
    value: Any
    writing: Writing
    """The version since which the part is what it is."""


def differences(before: Any, after: Any, path: str = ROOT) -> Iterator[Difference]:
    """Yield what has to change to make `after` of `before`, part by part; equal parts are left out."""
    if before is after or (type(before) is type(after) and before == after):
        return
    old, new = _parts(before), _parts(after)
    if old is None or new is None or isinstance(before, dict) is not isinstance(after, dict):
        yield _difference(path, before, after)
        return
    for name in [*old, *(name for name in new if name not in old)]:
        yield from differences(old.get(name, ABSENT), new.get(name, ABSENT), f"{path}.{name}" if path else name)


def parts(value: Any, path: str = ROOT) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value that are no containers, or empty ones, each with its path."""
    inside = _parts(value)
    if not inside:
        yield path, value
        return
    for name, part in inside.items():
        yield from parts(part, f"{path}.{name}" if path else name)


def blame(lineage: Sequence[Writing]) -> list[Blame]:
    """Return, for each part of the newest value of `lineage` (newest first), since which version it is what it is."""
    if not lineage:
        return []
    newest = lineage[0]
    values = [dict(parts(each.value)) for each in lineage]
    found: list[Blame] = []
    for path, value in values[0].items():
        since = newest
        for older, known in zip(lineage[1:], values[1:], strict=True):
            if older.is_deletion or path not in known or known[path] != value:
                break
            since = older
        found.append(Blame(path=path, value=value, writing=since))
    return found


def _difference(path: str, before: Any, after: Any) -> Difference:
    kind = "added" if before is ABSENT else "removed" if after is ABSENT else "changed"
    return Difference(path=path, before=_plain(before), after=_plain(after), kind=kind)


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def _parts(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    if isinstance(value, list):
        return {str(at): part for at, part in enumerate(cast("list[object]", value))}
    return None
