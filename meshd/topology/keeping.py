"""Keeping the topology: who is in it, what uses did to it, what time took. One leader at a time does it for the mesh.

Invariant: what an agent's record says is what the events up to its cursor made of it, each counted once. Every write
names the revision it replaces and is guarded by the leadership, so a manager that was superseded, or that missed what
another wrote, changes nothing: it forgets what it held and reads the records again.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.errors import AlreadyExistsError, ConflictError, FencedError, LogTrimmedError
from meshd.events import START, Event, EventBus
from meshd.nodes.model import Node, Verdict
from meshd.records import Guard, Record, RecordStore
from meshd.topology.fabric import Changes, Fabric
from meshd.topology.graph import graph_at, repairs
from meshd.topology.model import TOPOLOGY_LOG, EdgeRules, Shape
from meshd.topology.recorded import (
    CURSOR_KEY,
    OUT_PREFIX,
    Out,
    decode_cursor,
    decode_out,
    encode_cursor,
    encode_out,
    out_key,
    uses_in,
)
from meshd.topology.selection import FULL_MESH_UP_TO, shape_for
from meshd.topology.weights import weight_at

logger = logging.getLogger(__name__)

EVENTS_PER_STEP = 100
STEPS_PER_ROUND = 20
PAGE = 100
TRIES = 3
"""Rounds begun anew, within one call, because somebody else wrote."""
NEWS_PER_EVENT = 200

Members = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns every agent of the mesh with the node it lives on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingOptions:
    """How a topology is kept."""

    rules: EdgeRules = field(default_factory=EdgeRules)
    shape: Shape | None = None
    """Edges a new agent gets; `None`: by the number of agents."""
    full_mesh_up_to: int = FULL_MESH_UP_TO
    keeps_connected: bool = False
    """Link pieces that pruning left apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyRound:
    """What one round did."""

    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    created: int = 0
    removed: int = 0
    uses: int = 0
    """Messages counted."""
    is_behind: bool = False
    """Whether there is more to read: run again at once."""
    due_in_ms: int | None = None
    """How long until an edge is to be pruned if nothing is used before."""


@dataclass(slots=True, kw_only=True)
class _Held:
    """What a manager knows of the records, true as long as nobody else writes them."""

    guard: Guard | None
    fabric: Fabric
    place: int
    """Revision of the cursor's record."""
    cursor: str
    revisions: dict[str, int] = field(default_factory=dict[str, int])
    cursors: dict[str, str] = field(default_factory=dict[str, str])


class TopologyManager:
    """Keeps the topology of one mesh, a round at a time."""

    def __init__(
        self,
        records: RecordStore,
        events: EventBus,
        members: Members,
        options: KeepingOptions | None = None,
        *,
        rng: Random | None = None,
    ) -> None:
        self._records = records
        self._events = events
        self._members = members
        self._options = options or KeepingOptions()
        self._rng = rng or Random()
        self._held: _Held | None = None

    async def run_once(self, guard: Guard | None = None) -> TopologyRound:
        """Bring the records up to date: who came and went, the uses told since, the edges whose time is over.

        Idempotent; a crash anywhere in between leaves what the next round completes. Costs three reads when nothing
        happened, and otherwise one write for each agent whose edges changed and one for the cursor.

        Raises:
            FencedError: the leadership that `guard` names is over; nothing was changed after it ended.
            ConflictError: somebody without a leadership keeps writing the same records.
            UnavailableError: the store did not answer; the next round begins from the records.
        """
        for left in range(TRIES - 1, -1, -1):
            try:
                return await self._round(guard)
            except FencedError:
                self._held = None
                raise
            except ConflictError:
                self._held = None
                if not left:
                    raise
            except BaseException:
                self._held = None
                raise
        raise AssertionError("the last try returns or raises")

    async def _round(self, guard: Guard | None) -> TopologyRound:
        held, now_ms = await self._take_up(guard)
        members = await self._members()
        shape = self._options.shape or shape_for(len(members), full_mesh_up_to=self._options.full_mesh_up_to)
        held.fabric.meet(members, shape=shape, now_ms=now_ms)
        total, uses, is_behind = Changes(), 0, True
        for _ in range(STEPS_PER_ROUND):
            batch, cursor = await self._read(held)
            is_behind = len(batch) == EVENTS_PER_STEP
            uses += _count(held, batch)
            if not is_behind:
                held.fabric.prune(now_ms)
                self._reconnect(held.fabric, now_ms=now_ms)
            changes = held.fabric.taken_changes()
            await self._write(held, changes, cursor=cursor)
            await self._tell(held, changes, now_ms=now_ms)
            _add(total, changes)
            if not is_behind:
                break
        due_ms = held.fabric.next_due_ms
        return TopologyRound(
            joined=tuple(sorted(total.joined)),
            left=tuple(sorted(total.left)),
            created=len(total.created),
            removed=len(total.removed),
            uses=uses,
            is_behind=is_behind,
            due_in_ms=None if due_ms is None else max(0, due_ms - now_ms),
        )

    async def _take_up(self, guard: Guard | None) -> tuple[_Held, int]:
        """Return what is known, read again if another may have written since, and the store's time."""
        place = await self._records.get(CURSOR_KEY)
        if place is None:
            place = await self._begin(guard)
        held = self._held
        if held is None or held.guard != guard or held.place != place.revision:
            held = _Held(
                guard=guard,
                fabric=Fabric(self._options.rules),
                place=place.revision,
                cursor=decode_cursor(place.value),
            )
            await self._load(held)
            self._held = held
        return held, place.read_ms

    async def _begin(self, guard: Guard | None) -> Record:
        try:
            await self._records.create(CURSOR_KEY, encode_cursor(START), guard=guard)
        except AlreadyExistsError:
            logger.debug("another topology manager began at the same time")
        place = await self._records.get(CURSOR_KEY)
        if place is None:
            raise ConflictError(f"record {CURSOR_KEY!r} vanished as soon as it was written")
        return place

    async def _load(self, held: _Held) -> None:
        after = ""
        while True:
            page = await self._records.list(OUT_PREFIX, limit=PAGE, after=after)
            for record in page:
                out = decode_out(record.key, record.value)
                held.fabric.admit(out.agent, out.home, out.edges)
                held.revisions[out.agent] = record.revision
                held.cursors[out.agent] = out.cursor
            if len(page) < PAGE:
                break
            after = page[-1].key
        held.fabric.mend()

    async def _read(self, held: _Held) -> tuple[Sequence[Event], str]:
        """Return the next events, and the cursor after them; a store that went back has nothing new up to its end."""
        try:
            batch = await self._events.read(TOPOLOGY_LOG, after=held.cursor, limit=EVENTS_PER_STEP)
        except LogTrimmedError as exc:
            logger.warning("uses of edges were missed: %s", exc)
            if exc.oldest == START:
                return (), await self._events.latest(TOPOLOGY_LOG)
            batch = await self._events.read(TOPOLOGY_LOG, limit=EVENTS_PER_STEP)
        return batch, batch[-1].cursor if batch else held.cursor

    def _reconnect(self, fabric: Fabric, *, now_ms: int) -> None:
        if not self._options.keeps_connected or not fabric.changes:
            return
        graph = graph_at(fabric.edges(), fabric.homes, now_ms=now_ms, rules=self._options.rules)
        for one, other in repairs(graph, rng=self._rng):
            fabric.link(one, other, now_ms=now_ms)
            fabric.link(other, one, now_ms=now_ms)

    async def _write(self, held: _Held, changes: Changes, *, cursor: str) -> None:
        """Write what changed: a newcomer's own record after those of the others, a leaver's last, then the cursor.

        So an agent whose join or leave was cut short is still new, or still there, for who reads the records next.
        """
        for agent in sorted(changes.sources, key=lambda agent: (agent in changes.joined, agent)):
            await self._write_out(held, agent, cursor)
        for agent in sorted(changes.left):
            revision = held.revisions.pop(agent, None)
            held.cursors.pop(agent, None)
            if revision is not None:
                await self._records.delete(out_key(agent), revision=revision, guard=held.guard)
        if cursor != held.cursor:
            value = encode_cursor(cursor)
            held.place = await self._records.update(CURSOR_KEY, value, revision=held.place, guard=held.guard)
            held.cursor = cursor

    async def _write_out(self, held: _Held, agent: str, cursor: str) -> None:
        fabric, key = held.fabric, out_key(agent)
        out = Out(agent=agent, home=fabric.homes[agent], cursor=cursor, edges=fabric.edges_of(agent))
        revision = held.revisions.get(agent)
        if revision is None:
            held.revisions[agent] = await self._records.create(key, encode_out(out), guard=held.guard)
        else:
            held.revisions[agent] = await self._records.update(
                key, encode_out(out), revision=revision, guard=held.guard
            )
        held.cursors[agent] = cursor

    async def _tell(self, held: _Held, changes: Changes, *, now_ms: int) -> None:
        """Say what happened in the log. The records are the truth: a crash before this leaves the news untold."""
        homes = {**changes.joined, **changes.left}
        news: list[tuple[str, str, list[Any]]] = [
            ("agent_joined", "agents", [[agent, homes[agent]] for agent in sorted(changes.joined)]),
            ("agent_left", "agents", [[agent, homes[agent]] for agent in sorted(changes.left)]),
            ("edge_removed", "edges", [list(pair) for pair in sorted(changes.removed - changes.created)]),
            ("edge_created", "edges", _weighed(held.fabric, changes.created, now_ms)),
            ("edge_strength_changed", "edges", _weighed(held.fabric, changes.strengthened, now_ms)),
        ]
        for event, name, rows in news:
            for start in range(0, len(rows), NEWS_PER_EVENT):
                await self._events.append(TOPOLOGY_LOG, {"event": event, name: rows[start : start + NEWS_PER_EVENT]})


def members_of(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the agents of the nodes that are not dead, each with its node."""
    return {agent.id: node.id for node in nodes if node.verdict is not Verdict.DEAD for agent in node.profile.agents}


def _count(held: _Held, batch: Sequence[Event]) -> int:
    """Apply the uses that are not in the records yet; return how many messages they stand for.

    A record is at most one batch ahead of the cursor, so if its own cursor is not in this batch it is behind all of it.
    """
    places = {event.cursor: number for number, event in enumerate(batch)}
    done = {agent: places.get(cursor, -1) for agent, cursor in held.cursors.items()} if batch else {}
    counted = 0
    for number, event in enumerate(batch):
        for use in uses_in(event.body):
            if number > done.get(use.source, -1) and held.fabric.use(use, at_ms=event.at_ms):
                counted += use.count
    return counted


def _weighed(fabric: Fabric, pairs: Iterable[tuple[str, str]], now_ms: int) -> list[list[Any]]:
    found: list[list[Any]] = []
    for source, target in sorted(pairs):
        edge = fabric.edge(source, target)
        if edge is not None:
            found.append([source, target, round(weight_at(edge, now_ms, fabric.rules), 6)])
    return found


def _add(total: Changes, changes: Changes) -> None:
    total.joined.update(changes.joined)
    total.left.update(changes.left)
    total.created |= changes.created
    total.removed |= changes.removed
