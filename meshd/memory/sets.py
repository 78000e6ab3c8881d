"""Sets: JSON values that several may add and remove at once; an addition wins over a concurrent removal."""

from typing import cast

from meshd.errors import InvalidArgumentError
from meshd.memory.core import Making, MemoryCore
from meshd.memory.merging import element_text, set_changed
from meshd.memory.model import Item, Kind
from meshd.memory.policies import Resolved


class SharedSet:
    """One set."""

    def __init__(self, memory: MemoryCore, key: str) -> None:
        self._memory = memory
        self.key = key

    async def add(self, *values: object) -> None:
        """Put values in; those that are in it stay.

        Raises:
            InvalidArgumentError: the key holds no list.
        """
        await self._change(add=values)

    async def remove(self, *values: object) -> None:
        """Take values out as far as they are known here: an addition elsewhere meanwhile wins."""
        await self._change(remove=values)

    async def values(self) -> list[object]:
        """Return the values, in the order of their JSON text."""
        _, resolved = await self._memory.look(self.key)
        if resolved.winner is None:
            return []
        if not isinstance(resolved.value, list):
            raise InvalidArgumentError(f"memory key {self.key!r} holds no list")
        return cast("list[object]", resolved.value)

    async def has(self, value: object) -> bool:
        """Return whether a value is in it."""
        wanted = element_text(value)
        return any(element_text(each) == wanted for each in await self.values())

    async def _change(self, *, add: tuple[object, ...] = (), remove: tuple[object, ...] = ()) -> None:
        def make(item: Item, resolved: Resolved) -> Making:
            del resolved
            return Making(body=set_changed(item, add=add, remove=remove), over=item, kind=Kind.SET)

        await self._memory.change(self.key, make)
