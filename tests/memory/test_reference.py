"""The reference passes what every store of the port passes, so that comparing with it means something."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from meshd.backends import BackendOptions
from meshd.clock import ManualClock
from meshd.memory.model import MemoryLimits
from meshd.memory.store import MemoryStore
from tests.conformance import (
    test_memory_absorb,
    test_memory_collection,
    test_memory_conditions,
    test_memory_digest,
    test_memory_feed,
    test_memory_leases,
    test_memory_push,
    test_memory_reading,
    test_memory_refusals,
)
from tests.conftest import OpenAgain
from tests.memory.reference import ReferenceStore
from tests.support.memory import Writer

SUITES = (
    test_memory_absorb,
    test_memory_collection,
    test_memory_conditions,
    test_memory_digest,
    test_memory_feed,
    test_memory_leases,
    test_memory_push,
    test_memory_reading,
    test_memory_refusals,
)

for suite in SUITES:
    globals().update({name: each for name, each in vars(suite).items() if not name.startswith("__")})


@pytest.fixture
def open_again(clock: ManualClock, options: BackendOptions) -> Any:
    """Opens a store in memory for each mesh; who opens it again sees the same."""
    stores: dict[str, ReferenceStore] = {}

    async def open_store(other: BackendOptions | None = None) -> Any:
        asked = other or options
        store = stores.setdefault(asked.mesh, ReferenceStore(clock))
        store.limits = asked.memory
        return SimpleNamespace(memory=store)

    return open_store


@pytest.fixture
async def store(request: pytest.FixtureRequest, open_again: OpenAgain, options: BackendOptions) -> MemoryStore:
    """The store with the limits that the test's own suite sets."""
    limits: MemoryLimits = request.function.__globals__.get("LIMITS", options.memory)
    return (await open_again(replace(options, memory=limits))).memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock, node="n1")
