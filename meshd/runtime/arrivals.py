"""Waiting until processes started elsewhere are seen by the mesh as living nodes."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

from meshd.errors import DeadlineError
from meshd.mesh import Mesh
from meshd.nodes.model import Node, Verdict
from meshd.nodes.store import NODES_LOG

LOOK_MS = 50
"""Longest pause between two looks at the processes themselves; the mesh's hints end it early."""


async def wait_visible(mesh: Mesh, expected: Callable[[], Mapping[str, int]], *, timeout: timedelta) -> list[Node]:
    """Return the records of all expected nodes, once each is alive in the store under the pid expected for it.

    `expected` is asked again at every look, so it may follow restarts, and may raise to give up.

    Raises:
        DeadlineError: some were not there in time; the message names them.
    """
    deadline = asyncio.get_running_loop().time() + timeout.total_seconds()
    async with mesh.events.subscribe(NODES_LOG) as hints:
        while True:
            wanted = expected()
            records = [await mesh.backend.nodes.get(name) for name in wanted]
            here = [record for record in records if record is not None and is_run_by(record, wanted[record.id])]
            if len(here) == len(wanted):
                return here
            if asyncio.get_running_loop().time() >= deadline:
                missing = ", ".join(sorted(wanted.keys() - {record.id for record in here}))
                raise DeadlineError(f"not in the mesh after {timeout.total_seconds():g} s: {missing}")
            await hints.get(timeout_ms=LOOK_MS)


def is_run_by(record: Node, pid: int) -> bool:
    """Whether the record is of a living node in process `pid`."""
    return record.verdict is Verdict.ALIVE and record.profile.pid == pid
