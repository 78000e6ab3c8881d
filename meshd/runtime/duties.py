"""What each role does: one round of a manager, when the next is due, and what to tell of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from meshd.backends.port import Backend
from meshd.electors import consensus_manager
from meshd.messages.model import Message
from meshd.nodes.observing import SplitObserver
from meshd.nodes.store import NODES_LOG
from meshd.records import Guard
from meshd.role_names import RoleName
from meshd.runtime.inbox import NodeInbox
from meshd.runtime.roles import Role
from meshd.settings import Settings
from meshd.topology.keeping import TopologyManager, members_of
from meshd.topology.model import TOPOLOGY_LOG
from meshd.upkeep import keep_up
from meshd.votes.consensus import ConsensusManager
from meshd.votes.service import VoteService

if TYPE_CHECKING:
    from meshd.groups.hub import Hub

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


class GroupsRole:
    """Leads the announcements that nobody leads: made for others to lead, or left behind. Everybody may, at once."""

    name = "groups"
    is_elected = False

    def __init__(self, make_hub: Callable[[], "Hub"], *, topics: Sequence[str]) -> None:
        self.topics = topics
        self._make_hub = make_hub
        self._hub: Hub | None = None
        self._ending = set[asyncio.Task[None]]()
        self._counts = Counter[str]()

    async def run_once(self, guard: Guard | None) -> float | None:
        del guard
        if self._hub is None:
            return None
        due_in_s = await self._hub.round()
        self._counts.update(rounds=1)
        self._counts["taken_over"] = self._hub.taken_over
        self._counts["led"] = len(self._hub.leads)
        return due_in_s

    @contextmanager
    def playing(self) -> Generator[None]:
        self._counts.clear()
        self._hub = hub = self._make_hub()
        hub.start()
        try:
            yield
        finally:
            self._hub = None
            ending = asyncio.create_task(hub.aclose())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def statistics(self) -> Mapping[str, int]:
        return {name: self._counts[name] for name in ("rounds", "taken_over", "led")}


def _groups_role(backend: Backend, settings: Settings) -> GroupsRole:
    from meshd.groups.wire import HUBS  # noqa: PLC0415 -- for nodes that play it
    from meshd.teaming import hub_of  # noqa: PLC0415

    return GroupsRole(lambda: hub_of(backend, settings.groups), topics=(HUBS,))


def roles_of(backend: Backend, inbox: NodeInbox, votes: VoteService, settings: Settings) -> Sequence[Role]:
    """Return the roles a node is willing to play."""

    async def members() -> Mapping[str, str]:
        return members_of(await backend.nodes.list())

    def topology() -> Role:
        return TopologyRole(
            TopologyManager(backend.records, backend.events, members, settings.topology.options()),
            SplitObserver(backend.nodes, backend.records, backend.events),
        )

    makers: Mapping[RoleName, Callable[[], Role]] = {
        RoleName.TOPOLOGY: topology,
        RoleName.CONSENSUS: lambda: ConsensusRole(consensus_manager(backend, inbox.messages, votes), inbox),
        RoleName.GROUPS: lambda: _groups_role(backend, settings),
        RoleName.RECLAIM: lambda: ReclaimRole(backend, interval_s=settings.tasks.sweep_seconds),
    }
    return [makers[name]() for name in dict.fromkeys(settings.roles.play)]
