"""Counters: numbers that several may raise and lower at once, cut off or not; nothing is counted twice or lost."""

from meshd.errors import InvalidArgumentError
from meshd.memory.core import How, Making, MemoryCore
from meshd.memory.merging import counted
from meshd.memory.model import Item, Kind
from meshd.memory.policies import Resolved


class Counter:
    """One counter."""

    def __init__(self, memory: MemoryCore, key: str) -> None:
        self._memory = memory
        self.key = key

    async def add(self, by: float = 1, *, note: str = "") -> float:
        """Raise the counter, or lower it by a negative number; return what it stands at as far as is known here.

        Raises:
            InvalidArgumentError: the key holds no number.
        """

        def make(item: Item, resolved: Resolved) -> Making:
            del resolved
            return Making(body=counted(item, by), over=item, kind=Kind.COUNTER)

        saved = await self._memory.change(self.key, make, How(note=note))
        return 0 if saved is None else _number(self.key, saved.value)

    async def value(self) -> float:
        """Return what it stands at; 0 before the first `add`."""
        _, resolved = await self._memory.look(self.key)
        return 0 if resolved.winner is None else _number(self.key, resolved.value)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"memory key {key!r} holds no number")
    return value
