"""Conflicts: keys that were written by several who did not know of each other, and how a person settles them.

The queue is the memory itself: a key is in it while its versions stand beside each other, and leaves it by the write
that covers them all. So it cannot spin, and two people who settle one key at once are told so.
"""

from dataclasses import dataclass
from typing import Any

from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.memory.core import How, Making, MemoryCore
from meshd.memory.entries import Saved, Writing, latest_first, name_of, writing
from meshd.memory.making import body_like
from meshd.memory.model import Item, Version
from meshd.memory.policies import Resolved

UNSET: Any = object()
"""Stands for a value that was not given, since `None` is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A key with several versions side by side."""

    key: str
    policy: str
    value: Any
    """What readers are given meanwhile."""
    sides: tuple[Writing, ...]
    """The versions, the latest first."""
    needs_person: bool
    """Nobody but a human settles it; else a reader, or the policy, does."""
    why: str = ""
    """Why the policy gave no answer."""


class MemoryConflicts(MemoryCore):
    """Keys that wait for a decision."""

    async def conflicts(
        self, prefix: str = "", *, settled: bool = False, limit: int = 100, after: str = ""
    ) -> list[Conflict]:
        """Return keys whose versions say different things and whose policy leaves the choice open, by key.

        With `settled` also those where the policy chose, or merged: their other sides are kept until the next write.
        """
        found: list[Conflict] = []
        while len(found) < limit:
            page = await self._access.contested(prefix, limit=limit, after=after)
            if not page:
                break
            now_ms = await self._access.now_ms()
            for key, item in page:
                resolved = self._resolve(item, now_ms)
                if resolved.is_conflict or (settled and len(resolved.siblings) > 1):
                    found.append(_conflict(key, resolved))
            after = page[-1][0]
        return found[:limit]

    async def resolve(self, key: str, choice: str = "", *, value: Any = UNSET, note: str = "") -> Saved[Any]:
        """Settle a key: with the side named by `choice`, or with another `value`. Every node takes it.

        Raises:
            NotFoundError: its versions do not stand beside each other (any more), or `choice` is none of them.
            WriteConflictError: somebody else settled or wrote the key meanwhile.
            StoreUnreachableError: the store is away; nothing was written.
        """
        if bool(choice) is (value is not UNSET):
            raise InvalidArgumentError("settle a conflict with one of its sides, or with a value: one of the two")

        def make(item: Item, resolved: Resolved) -> Making:
            if len(resolved.siblings) < 2:
                raise NotFoundError(f"memory key {key!r} has no conflict")
            side = _side(key, resolved, choice) if choice else latest_first(resolved.siblings)[0]
            wanted = writing(side).value if choice else value
            body, kind = body_like(side.header.kind, wanted, over=item, shown=resolved)
            return Making(body=body, over=item, kind=kind, expects=resolved.dots)

        saved = await self.change(key, make, How(note=note or "conflict settled"))
        if saved is None:
            raise InvalidArgumentError("a conflict is settled with a value; `delete` removes the key")
        return saved


def _side(key: str, resolved: Resolved, choice: str) -> Version:
    for version in resolved.siblings:
        if name_of(version.dot) == choice:
            return version
    names = ", ".join(name_of(version.dot) for version in resolved.siblings)
    raise NotFoundError(f"memory key {key!r}: {choice} is not one of its sides {names}")


def _conflict(key: str, resolved: Resolved) -> Conflict:
    return Conflict(
        key=key,
        policy=resolved.policy,
        value=resolved.value,
        sides=tuple(writing(version) for version in resolved.siblings),
        needs_person=resolved.needs_person,
        why=resolved.why,
    )
