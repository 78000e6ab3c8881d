"""Small writes to a replica's file are done at once, unless that would have the loop wait."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from meshd.backends import BackendOptions, open_replica
from meshd.backends.sqlite.checkpoints import Checkpoints
from meshd.clock import ManualClock
from tests.support.memory import Writer, everything


async def test_the_loop_goes_on_while_somebody_else_holds_the_file(tmp_path: Path) -> None:
    path, ann = tmp_path / "replica.db", Writer("n1~x", ManualClock())
    file = await open_replica(path, BackendOptions(clock=ManualClock()))
    await file.store.absorb([ann.put("a")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(file.store.absorb([ann.put("b")]))
        await asyncio.sleep(0)
        assert not waiting.done()
        other.execute("ROLLBACK")
    await waiting
    assert set(await everything(file.store)) == {"a", "b"}
    await file.aclose()


async def test_moving_the_log_loses_nothing(tmp_path: Path) -> None:
    path, ann = tmp_path / "replica.db", Writer("n1~x", ManualClock())
    file = await open_replica(path, BackendOptions(clock=ManualClock()))
    for number in range(300):
        await file.store.absorb([ann.put(f"k{number}")])
    checkpoints = Checkpoints(path)
    await asyncio.to_thread(checkpoints.move, changes=1_000)
    await file.store.absorb([ann.put("last")])
    checkpoints.close()
    checkpoints.move(changes=9_000)
    assert len(await everything(file.store)) == 301
    await file.aclose()
