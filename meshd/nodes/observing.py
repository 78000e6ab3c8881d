"""Tells of splits: one observer at a time looks who reaches whom, and says when the mesh fell apart and when it healed.

Invariant: what was told is kept beside the log under the observer's guard, so that a superseded observer tells nothing
and its successor goes on where it stopped.
"""

import logging

import msgspec

from meshd.events import EventBus
from meshd.nodes.history import PARTITIONS_LOG
from meshd.nodes.model import NodeFilter
from meshd.nodes.partitions import Change, SplitWatch
from meshd.nodes.service import connectivity_of
from meshd.nodes.store import NodeStore
from meshd.records import Guard, Record, RecordStore

logger = logging.getLogger(__name__)

NAMED = 100
"""Most nodes of one partition that an event names."""

WATCH_KEY = "partitions/watch"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SplitWatch).decode


class SplitObserver:
    """Call `run_once` now and then: a split is over when three calls in a row found none."""

    def __init__(self, nodes: NodeStore, records: RecordStore, events: EventBus) -> None:
        self._nodes = nodes
        self._records = records
        self._events = events

    async def run_once(self, guard: Guard | None = None) -> Change | None:
        """Look once; return the change that was told of, if there was one.

        Raises:
            FencedError: the leadership that `guard` names has ended; nothing was told.
        """
        record = await self._records.get(WATCH_KEY)
        watch = SplitWatch() if record is None else _watch(record)
        nodes = await self._nodes.list(NodeFilter(include_dead=True))
        found = connectivity_of(nodes)
        after, change = watch.after(found.partitions, now_ms=found.read_ms)
        if after == SplitWatch() and record is not None:
            await self._records.delete(WATCH_KEY, guard=guard)
        elif after != watch:
            await self._records.put(WATCH_KEY, _encode(after), guard=guard)
        if change is not None:
            told = {
                "event": "healed" if change.is_healed else "split",
                "sizes": list(change.sizes),
                "since_ms": change.since_ms,
                "partitions": [list(one.nodes[:NAMED]) for one in found.partitions],
            }
            await self._events.append(PARTITIONS_LOG, told)
        return change


def _watch(record: Record) -> SplitWatch:
    """Return what was told so far; what cannot be read is begun anew, so that a split is told again and not never."""
    try:
        return _decode(record.value)
    except msgspec.DecodeError as exc:
        logger.error("record %r says nothing of splits, and is made anew: %s", record.key, exc)  # noqa: TRY400 -- no program error
        return SplitWatch()
