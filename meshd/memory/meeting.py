"""Having all replicas meet at the hub: each sends what it has, and then each has what any of them had."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from meshd.events import EventBus
from meshd.memory.requesting import Progress, request_sync
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import NodeSync, SyncReport


async def meet(
    store: MemoryStore,
    events: EventBus,
    *,
    nodes: Collection[str],
    timeout: timedelta = timedelta(seconds=30),
    progress: Progress | None = None,
) -> SyncReport:
    """Return what each replica did; afterwards those that confirmed have all that any of them had before.

    A replica that compared itself before another sent what it had is asked once more.
    """
    first = await request_sync(store, events, nodes=nodes, timeout=timeout, progress=progress)
    revision = (await store.clock()).revision
    late = [each.node for each in first.nodes if each.confirmed and each.revision < revision]
    if not late:
        return first
    second = await request_sync(store, events, nodes=late, timeout=timeout)
    again = {each.node: each for each in second.nodes}
    return SyncReport(
        request=second.request,
        nodes=tuple(_both(each, again.get(each.node)) for each in first.nodes),
        duration_ms=first.duration_ms + second.duration_ms,
    )


def _both(first: NodeSync, second: NodeSync | None) -> NodeSync:
    if second is None:
        return first
    return replace(
        second,
        sent=first.sent + second.sent,
        received=first.received + second.received,
        conflicts=first.conflicts + second.conflicts,
        bytes=first.bytes + second.bytes,
        duration_ms=first.duration_ms + second.duration_ms,
    )
