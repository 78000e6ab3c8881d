"""Row L18, batch_sync_size: a node that is far behind catches up in batches of a thousand versions, never more."""

from pathlib import Path
from typing import cast

from meshd.backends import BackendOptions, open_backend
from meshd.memory.model import Change, Strategy
from meshd.memory.replication.replica import Replica
from meshd.memory.store import MemoryStore
from tests.memory_sync.lying import LyingStore
from tests.memory_sync.replicas import draft, open_at, put, replica_of, text
from tests.support.waiting import wait_until

MANY = 2_500


class Counted(LyingStore):
    """A real store that notes how many versions each reading of its changes brought."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, lambda change: change)
        self.batches: list[int] = []

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        change = await super().changes(after=after, limit=limit)
        self.batches.append(len(change.versions))
        return change


async def knows(replica: Replica, key: str, value: str) -> bool:
    return await text(replica, key) == value


async def test_a_node_far_behind_catches_up_in_batches_of_a_thousand(
    store_url: str, mesh_name: str, tmp_path: Path
) -> None:
    backend = await open_backend(store_url, BackendOptions(mesh=mesh_name))
    async with replica_of(backend, tmp_path / "a.db", node="a") as ahead:
        async with replica_of(backend, tmp_path / "b.db", node="b") as before:
            await put(ahead, "first", "here")
            await wait_until(lambda: knows(before, "first", "here"))
            await before.sync()
        drafts = [draft(f"k/{number}", f"v{number}", node="a") for number in range(MANY)]
        for start in range(0, MANY, 500):
            await ahead.write(drafts[start : start + 500], strategy=Strategy.STRONG)

        hub = Counted(backend.memory)
        behind = await open_at(cast("MemoryStore", hub), tmp_path / "b.db", node="b", backend=backend)
        try:
            await wait_until(lambda: knows(behind, f"k/{MANY - 1}", f"v{MANY - 1}"), timeout=30)
            assert await knows(behind, "k/0", "v0")
        finally:
            await behind.aclose()
        assert max(hub.batches) == 1_000
        assert sum(hub.batches) >= MANY
    await backend.aclose()
