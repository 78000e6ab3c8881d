"""The store in memory in the place of the real ones, for the tests of this folder that ask for a store."""

from collections.abc import Awaitable, Callable

import pytest

from meshd.backends import BackendOptions
from meshd.clock import ManualClock
from tests.support.memory_store import MemoryStore


@pytest.fixture
def open_again(clock: ManualClock, options: BackendOptions) -> Callable[..., Awaitable[MemoryStore]]:
    """Opens the store once more, as another process would; another mesh is another store."""
    opened: dict[str, MemoryStore] = {}

    async def open_store(other: BackendOptions | None = None) -> MemoryStore:
        return opened.setdefault((other or options).mesh, MemoryStore(clock))

    return open_store


@pytest.fixture
async def backend(open_again: Callable[..., Awaitable[MemoryStore]]) -> MemoryStore:
    return await open_again()
