"""What became of nodes, from the event log: who joined, fell silent, died or left, as far back as the log reaches."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from meshd.errors import InvalidArgumentError, LogTrimmedError
from meshd.events import START, Event, EventBus
from meshd.nodes.partitions import Change
from meshd.nodes.store import NODES_LOG
from meshd.nodes.uptime import Uptime, uptime_of

PARTITIONS_LOG = "partitions"
"""Name of the event log and of the hint topic about splits.

Event bodies are JSON objects: `{"event": "split"|"healed", "sizes": [nodes of each partition now], "since_ms": when the
split began, "partitions": [[node ids], …]}`; of large partitions only some nodes are named.
"""

PAGE = 1_000
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent:
    """One transition of one node."""

    at_ms: int
    node_id: str
    event: str
    """As the log has it: `left` when it said so, `dead` when it was judged."""
    incarnation: int
    status: str = ""
    by: str = ""
    """Who vouched for it, of `partitioned`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEvent:
    """The mesh split, or was whole again."""

    at_ms: int
    change: Change


async def history(events: EventBus, *, node_id: str = "", limit: int = 50) -> Sequence[NodeEvent]:
    """Return the newest `limit` transitions, of one node or of all, oldest first; changes of status left out.

    Raises:
        InvalidArgumentError: the limit is not over 0.
    """
    if limit < 1:
        raise InvalidArgumentError(f"limit {limit} is not over 0")
    found: deque[NodeEvent] = deque(maxlen=limit)
    async for event in _all(events, NODES_LOG):
        told = _read(event)
        if told.event != "status" and node_id in ("", told.node_id):
            found.append(told)
    return list(found)


async def uptimes(events: EventBus, *, now_ms: int, window: timedelta) -> Mapping[str, Uptime]:
    """Return, of every node the log knows, how much of the last `window` before `now_ms` it was there.

    Raises:
        InvalidArgumentError: the window is not longer than nothing.
    """
    if window <= timedelta(0):
        raise InvalidArgumentError(f"window {window} is not over 0")
    lives: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    async for event in _all(events, NODES_LOG):
        told = _read(event)
        lives[told.node_id].append((told.at_ms, told.event))
    now_ms = max(now_ms, max((life[-1][0] for life in lives.values()), default=0))
    found = {
        node_id: uptime_of(life, now_ms=now_ms, window_ms=window // MILLISECOND) for node_id, life in lives.items()
    }
    return {node_id: uptime for node_id, uptime in sorted(found.items()) if uptime.observed_ms}


async def splits(events: EventBus, *, limit: int = 10) -> Sequence[SplitEvent]:
    """Return the newest splits and recoveries, oldest first."""
    found: deque[SplitEvent] = deque(maxlen=limit)
    async for event in _all(events, PARTITIONS_LOG):
        body = event.body
        change = Change(is_healed=body["event"] == "healed", sizes=tuple(body["sizes"]), since_ms=int(body["since_ms"]))
        found.append(SplitEvent(at_ms=event.at_ms, change=change))
    return list(found)


async def _all(events: EventBus, log: str) -> AsyncIterator[Event]:
    """Yield the events of a log; what is trimmed meanwhile is left out."""
    cursor = START
    while True:
        try:
            page = await events.read(log, after=cursor, limit=PAGE)
        except LogTrimmedError:
            cursor = START
            continue
        if not page:
            return
        cursor = page[-1].cursor
        for event in page:
            yield event


def _read(event: Event) -> NodeEvent:
    body = event.body
    return NodeEvent(
        at_ms=event.at_ms,
        node_id=str(body["node"]),
        event=str(body["event"]),
        incarnation=int(body["incarnation"]),
        status=str(body.get("status", "")),
        by=str(body.get("by", "")),
    )
