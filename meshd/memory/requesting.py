"""Asking every replica of the mesh to sync now, and waiting until each said that it did."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

from meshd.events import EventBus
from meshd.ids import new_id
from meshd.memory.model import Member
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SYNC_TOPIC, NodeSync, SyncReport, SyncState

_PAUSE_S = 0.02
_ASK_AGAIN_S = 1.0

Progress = Callable[[SyncReport], None]
"""Called with what is known so far whenever more replicas have answered."""


async def request_sync(
    store: MemoryStore,
    events: EventBus,
    *,
    nodes: Collection[str],
    timeout: timedelta = timedelta(seconds=30),
    progress: Progress | None = None,
) -> SyncReport:
    """Have the replicas of these nodes sync, and return what each did; those that said nothing in time are in it too.

    Name the live nodes: a member that is away holds nothing up, and one without a replica is reported as missing.
    """
    loop = asyncio.get_running_loop()
    request, began = new_id(), loop.time()
    ask_at, answered = began, -1
    while True:
        now = loop.time()
        if now >= ask_at:
            await events.publish(SYNC_TOPIC, {"id": request})
            ask_at = now + _ASK_AGAIN_S
        members = {member.node: member for member in await store.members()}
        report = SyncReport(
            request=request,
            nodes=tuple(_answer(node, members.get(node), request=request) for node in sorted(nodes)),
            duration_ms=round((loop.time() - began) * 1000),
            is_over=False,
        )
        confirmed = sum(each.confirmed for each in report.nodes)
        if progress is not None and confirmed > answered:
            progress(report)
        answered = confirmed
        if confirmed == len(report.nodes) or now - began >= timeout.total_seconds():
            return replace(report, is_over=True)
        await asyncio.sleep(_PAUSE_S)


def _answer(node: str, member: Member | None, *, request: str) -> NodeSync:
    if member is None:
        return NodeSync(node=node, confirmed=False)
    state = SyncState.of(member.state)
    is_answer = state.request == request
    return NodeSync(
        node=node,
        confirmed=is_answer,
        sent=state.last_sent if is_answer else 0,
        received=state.last_received if is_answer else 0,
        conflicts=state.last_conflicts if is_answer else 0,
        bytes=state.last_bytes if is_answer else 0,
        duration_ms=state.duration_ms if is_answer else 0,
        pending=state.pending,
        refused=state.refused,
        revision=member.revision,
        is_equal=state.is_equal and is_answer,
        differing=tuple(state.differing.splitlines()) if is_answer else (),
    )
