"""What each role does: one round of a manager, when the next is due, and what to tell of it."""

import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from meshd.backends.port import Backend
from meshd.electors import consensus_manager
from meshd.messages.model import Message
from meshd.nodes.observing import SplitObserver
from meshd.nodes.store import NODES_LOG
from meshd.records import Guard
from meshd.runtime.inbox import NodeInbox
from meshd.runtime.roles import Role
from meshd.settings import Settings
from meshd.topology.keeping import TopologyManager, members_of
from meshd.topology.model import TOPOLOGY_LOG
from meshd.upkeep import keep_up
from meshd.votes.consensus import ConsensusManager
from meshd.votes.service import VoteService

LOOK_EACH_S = 5.0
"""Least time between two looks at who reaches whom."""


class ConsensusRole:
    """Ends votes whose time is over, announces decisions, takes votes that come as messages."""

    is_elected = True

    def __init__(self, manager: ConsensusManager, inbox: NodeInbox) -> None:
        self.name = manager.name
        self.topics: Sequence[str] = manager.topics
        self._manager = manager
        self._inbox = inbox
        self._counts = Counter[str]()

    async def run_once(self, guard: Guard | None) -> float | None:
        done = await self._manager.run_once(guard)
        self._counts.update(rounds=1, announced=done.announced, expired=done.expired, failed=done.failed)
        self._counts["pending"] = done.pending
        return None if done.due_in_ms is None else max(1, done.due_in_ms) / 1000

    @contextmanager
    def playing(self) -> Generator[None]:
        self._counts.clear()
        self._inbox.play(self._manager.addressee, self._take)
        try:
            yield
        finally:
            self._inbox.rest(self._manager.addressee)

    def statistics(self) -> Mapping[str, int]:
        return {name: self._counts[name] for name in ("rounds", "pending", "announced", "expired", "failed")}

    async def _take(self, message: Message) -> dict[str, object]:
        return await self._manager.take(message)


class TopologyRole:
    """Keeps the edges between agents: what uses made of them, and what time did. Tells of splits, too."""

    name = "topology"
    is_elected = True
    topics: Sequence[str] = (TOPOLOGY_LOG, NODES_LOG)

    def __init__(self, manager: TopologyManager, observer: SplitObserver) -> None:
        self._manager = manager
        self._observer = observer
        self._look_at = 0.0
        self._counts = Counter[str]()

    async def run_once(self, guard: Guard | None) -> float | None:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EACH_S
            await self._observer.run_once(guard)
        done = await self._manager.run_once(guard)
        self._counts.update(
            rounds=1,
            uses=done.uses,
            created=done.created,
            removed=done.removed,
            joined=len(done.joined),
            left=len(done.left),
        )
        if done.is_behind:
            return 0.0
        return None if done.due_in_ms is None else max(done.due_in_ms, 1) / 1000

    @contextmanager
    def playing(self) -> Generator[None]:
        self._counts.clear()
        yield

    def statistics(self) -> Mapping[str, int]:
        return {name: self._counts[name] for name in ("rounds", "uses", "created", "removed", "joined", "left")}


class ReclaimRole:
    """Judges silent nodes and takes back their tasks, beside the nodes that all do so too; it needs no leader."""

    name = "reclaim"
    is_elected = False
    topics: Sequence[str] = (NODES_LOG,)

    def __init__(self, backend: Backend, *, interval_s: float) -> None:
        self._backend = backend
        self._interval_s = interval_s
        self._counts = Counter[str]()

    async def run_once(self, guard: Guard | None) -> float | None:
        del guard
        done = await keep_up(self._backend)
        self._counts.update(rounds=1, dead=len(done.dead), taken_back=done.taken_back)
        return self._interval_s

    @contextmanager
    def playing(self) -> Generator[None]:
        self._counts.clear()
        yield

    def statistics(self) -> Mapping[str, int]:
        return {name: self._counts[name] for name in ("rounds", "dead", "taken_back")}


def roles_of(backend: Backend, inbox: NodeInbox, votes: VoteService, settings: Settings) -> Sequence[Role]:
    """Return the roles a node is willing to play."""

    async def members() -> Mapping[str, str]:
        return members_of(await backend.nodes.list())

    made: dict[str, Role] = {
        "topology": TopologyRole(
            TopologyManager(backend.records, backend.events, members, settings.topology.options()),
            SplitObserver(backend.nodes, backend.records, backend.events),
        ),
        "consensus": ConsensusRole(consensus_manager(backend, inbox.messages, votes), inbox),
        "reclaim": ReclaimRole(backend, interval_s=settings.tasks.sweep_seconds),
    }
    return [made[name] for name in dict.fromkeys(settings.roles.play)]
