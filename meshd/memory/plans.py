"""How one key is to be set back, and that it still is as it was when that was planned. Pure."""

from dataclasses import dataclass
from typing import Any

import msgspec

from meshd.errors import WriteConflictError
from meshd.memory.core import Making
from meshd.memory.entries import name_of
from meshd.memory.making import body_like
from meshd.memory.model import Item, Version
from meshd.memory.policies import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """One key set back, or that would be."""

    key: str
    version: str
    """The version taken back."""
    before: Any
    """What the key showed; `None` also where it was deleted."""
    after: Any
    """What it shows now; `None` also for a deletion."""
    is_deletion: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one key is to be set back."""

    key: str
    seen: Item
    shown: Resolved
    target: Resolved
    undoes: Version

    @property
    def undone_name(self) -> str:
        """Name of the version it takes back."""
        return name_of(self.undoes.dot)

    @property
    def changes_something(self) -> bool:
        """Whether the key would show anything else, or its conflict be settled."""
        if self.shown.is_conflict or self.shown.exists is not self.target.exists:
            return True
        shown, target = self.shown.value, self.target.value
        return shown != target or _text(shown) != _text(target)

    def as_undone(self) -> Undone:
        return Undone(
            key=self.key,
            version=self.undone_name,
            before=self.shown.value,
            after=self.target.value,
            is_deletion=self.target.winner is None,
        )

    def make(self, item: Item, resolved: Resolved) -> Making:
        """Return the write, if the key still is as planned.

        Raises:
            WriteConflictError: it is not.
        """
        if [version.blob for version in item] != [version.blob for version in self.seen]:
            expected, current = (tuple([name_of(version.dot) for version in each]) for each in (self.seen, item))
            raise WriteConflictError(self.key, expected=expected, current=current)
        if self.target.winner is None:
            return Making(body=None, over=item, expects=resolved.dots)
        kind = self.target.winner.header.kind
        body, made = body_like(kind, self.target.value, over=item, shown=resolved)
        return Making(body=body, over=item, kind=made, expects=resolved.dots)


def _text(value: Any) -> bytes:
    """Return what tells values apart that Python calls equal: 1, 1.0 and true."""
    return msgspec.json.encode(value, order="sorted")
