"""A node's life: from its join to its leave. What exists only while a node runs lives here.

The parts beside the worker are entered before the node joins and left after it has gone, so a handler finds them all.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from meshd.backends.port import Backend, BackendOptions
from meshd.memory.service import Memory
from meshd.nodes.model import Membership, NodeProfile, NodeStatus, Vitals
from meshd.runtime.answers import Answers
from meshd.runtime.bridge import LinkBridge
from meshd.runtime.execution import StopCause
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.holds import Holds
from meshd.runtime.inbox import Listeners, NodeInbox
from meshd.runtime.memory import memory_of
from meshd.runtime.message_handlers import MessageTable
from meshd.runtime.prober import prober_of
from meshd.runtime.pulse import Pulse, PulseSettings
from meshd.runtime.vitals import Limits, Tally, VitalSigns
from meshd.runtime.worker import Worker, WorkerSettings
from meshd.settings import Settings
from meshd.tasks.model import Claimer
from meshd.tasks.routing import claimer_of

if TYPE_CHECKING:
    from meshd.groups.behaviour import Behaviour
    from meshd.groups.service import Groups
    from meshd.votes.service import VoteService

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node lives: a store opened for it, and how it was opened."""

    backend: Backend
    url: str
    options: BackendOptions
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """What a node brings to its life."""

    name: str
    profile: Callable[[], NodeProfile]
    handlers: HandlerTable
    message_handlers: MessageTable
    capacity: int
    grace_s: float
    """How long what runs may go on once it is to leave."""
    hosted: "Sequence[Behaviour]" = ()
    """Agents that take part in working groups."""


class Life:
    """One life: enter `living` once. Implements `PulseListener`."""

    def __init__(self, character: Character, place: Place, *, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Set `stop` when it cannot go on; once `hurry` is set, leaving waits for nothing."""
        self._character = character
        self._place = place
        self._stop = stop
        self._hurry = hurry
        self._holds = Holds()
        self._bridge = LinkBridge()
        self._tally = Tally()
        limits = Limits(memory_mb=place.settings.memory_limit_mb, cpu_percent=place.settings.cpu_limit_percent)
        self._signs = VitalSigns(self._tally, limits=limits)
        self._membership = Membership(node_id=character.name, incarnation=0)
        self._claims_as: Claimer | None = None
        self._worker: Worker | None = None
        self._pulse: Pulse | None = None
        self._initializing = True
        self._is_strained = False
        self._draining = False
        self._drain_requested = False
        self.memory: Memory | None = None
        """What the mesh knows, in this node's own replica."""
        self.inbox: NodeInbox | None = None
        """What is said to this node, its agents and the roles it plays."""
        self._votes: VoteService | None = None
        self._groups: Groups | None = None
        self.failure: BaseException | None = None
        """Why it is no member any more, if it did not leave."""

    @property
    def status(self) -> NodeStatus:
        """What this node says of itself now."""
        if self._draining:
            return NodeStatus.SHUTTING_DOWN
        if self._initializing:
            return NodeStatus.INITIALIZING
        if self._drain_requested:
            return NodeStatus.DEGRADED
        return NodeStatus.BUSY if self._worker is not None and self._worker.is_full else NodeStatus.ACTIVE

    @property
    def votes(self) -> "VoteService | None":
        """What the mesh decides together, made for whoever asks first; nothing before the node can hear."""
        if self._votes is None and self.inbox is not None:
            from meshd.electors import votes_of  # noqa: PLC0415 -- most nodes decide nothing

            settings, name = self._place.settings.votes, self._character.name
            self._votes = votes_of(self._place.backend, self.inbox.messages, settings, proposer=name)
        return self._votes

    @property
    def groups(self) -> "Groups | None":
        """Agents that team up, made for whoever asks first; nothing before the node can hear."""
        if self._groups is None and self.inbox is not None:
            from meshd.teaming import groups_of  # noqa: PLC0415 -- for nodes that team up

            settings, name = self._place.settings.groups, self._character.name
            self._groups = groups_of(self._place.backend, settings, name=name)
        return self._groups

    @asynccontextmanager
    async def living(self) -> AsyncGenerator[None]:
        """Be a member for the length of the block.

        Raises:
            MeshError: the store cannot be used, or the membership was lost.
        """
        place, profile = self._place, self._character.profile()
        async with (
            memory_of(
                place.backend,
                profile,
                options=place.options,
                settings=place.settings,
                silent_ms=self._silent_ms,
                bridge=self._links,
            ) as self.memory,
            self._hearing() as self.inbox,
            self._announcing(),
            self._working(),
            self._playing(self.inbox),
            self._taking_part(),
        ):
            yield
        if self.failure is not None:
            raise self.failure

    def declared_anew(self) -> None:
        """The node declares something else now: claim and be found as that."""
        self._claims_as = None
        if self._pulse is not None:
            self._pulse.announce_soon()
        if self.inbox is not None:
            self.inbox.look_anew()

    @property
    def _links(self) -> LinkBridge | None:
        """Its links to other nodes, as its own loop reaches them; `None` over a store that has none."""
        return self._bridge if self._place.settings.peers.links_over(self._place.url) else None

    @property
    def incarnation(self) -> int:
        """Of its present membership; 0 before its join."""
        return self._membership.incarnation

    @asynccontextmanager
    async def _hearing(self) -> AsyncGenerator[NodeInbox]:
        """What is said to this node, heard from its join on."""
        place, profile = self._place, self._character.profile
        answers = Answers(place.backend, profile=profile, status=lambda: self.status, topology=place.settings.topology)
        inbox = NodeInbox(
            place.backend,
            profile=profile,
            listeners=Listeners(own=self._character.message_handlers, built_in=answers),
            options=place.settings.messages.options(),
            bridge=self._links,
        )
        inbox.start()
        try:
            yield inbox
        finally:
            await inbox.aclose()

    @asynccontextmanager
    async def _announcing(self) -> AsyncGenerator[None]:
        """What this node announces, led until it has gone."""
        try:
            yield
        finally:
            groups, self._groups = self._groups, None
            if groups is not None:
                await groups.aclose()

    def _playing(self, inbox: NodeInbox) -> AbstractAsyncContextManager[None]:
        """The roles of the mesh this node is willing to play; given up before it drains."""
        place, votes = self._place, self.votes if self._place.settings.roles.play else None
        if votes is None:
            return nullcontext()
        from meshd.runtime.duties import roles_of  # noqa: PLC0415 -- for nodes that play some
        from meshd.runtime.roles import Roles, roles_played  # noqa: PLC0415

        roles = roles_of(place.backend, inbox, votes, place.settings)
        return roles_played(Roles(votes.leaders, place.backend.events, roles, place.settings.roles))

    def _taking_part(self) -> AbstractAsyncContextManager[None]:
        """What the agents hosted here do in working groups; given up, after a grace, before the node drains."""
        hosted, place = self._character.hosted, self._place
        if not hosted:
            return nullcontext()
        from meshd.teaming import participant_of  # noqa: PLC0415 -- for nodes that host agents

        participant = participant_of(
            place.backend, place.settings.groups, node=self._character.name, incarnation=lambda: self.incarnation
        )
        return participant.taking_part(hosted, grace_s=self._character.grace_s, hurry=self._hurry)

    @asynccontextmanager
    async def _working(self) -> AsyncGenerator[None]:
        pulse = self._pulse = self._new_pulse()
        worker = self._worker = self._new_worker(pulse)
        name, mesh = self._character.name, self._place.options.mesh
        try:
            self.joined(await pulse.start())
            self._initializing = False
            if self.inbox is not None:
                self.inbox.open()
            pulse.beat_soon()
            logger.info("node %s joined mesh %s as incarnation %d", name, mesh, self._membership.incarnation)
            working = asyncio.create_task(worker.run(), name="meshd worker")
            working.add_done_callback(lambda _: self._stop.set())
            try:
                yield
            finally:
                await self._drain(worker, working, pulse)
        finally:
            await pulse.aclose()
            self._pulse = self._worker = None
            logger.info("node %s left", name)

    def _new_pulse(self) -> Pulse:
        settings = PulseSettings(
            url=self._place.url,
            options=self._place.options,
            profile=self._character.profile,
            vitals=partial(self._vitals, asyncio.get_running_loop()),
            holds=self._holds,
            prober=prober_of(
                self._character.profile(),
                url=self._place.url,
                mesh=self._place.options.mesh,
                settings=self._place.settings,
                bridge=self._bridge,
            ),
            patience_s=self._place.settings.join_patience_seconds,
        )
        return Pulse(settings, self)

    def _new_worker(self, pulse: Pulse) -> Worker:
        settings = WorkerSettings(
            capacity=self._character.capacity,
            timings=self._place.options.tasks,
            max_result_bytes=self._place.settings.max_payload_bytes,
            claimer=self._claimer,
        )
        return Worker(
            self._place.backend.tasks,
            self._character.handlers,
            settings,
            holds=self._holds,
            tally=self._tally,
            renew_soon=pulse.renew_soon,
        )

    async def _drain(self, worker: Worker, working: asyncio.Task[None], pulse: Pulse) -> None:
        self._draining = True
        worker.stop()
        if self.inbox is not None:
            self.inbox.stop()
        pulse.beat_soon()
        if self.failure is not None:
            worker.stop_tasks(StopCause.LOST)
        hurry = asyncio.create_task(self._hurry.wait())
        ending = asyncio.create_task(self._ended(working))
        await asyncio.wait({ending, hurry}, timeout=self._character.grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        ending.cancel()
        if not working.done():
            worker.stop_tasks(StopCause.DRAINED)
            await asyncio.wait({working}, timeout=2.0)
        if not working.done():
            logger.warning("%d handlers did not stop; their tasks are taken back from them", worker.open_tasks)
            working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    async def _ended(self, working: asyncio.Task[None]) -> None:
        """Return when nothing runs here any more."""
        await asyncio.wait({working})
        if self.inbox is not None and self.failure is None:
            await self.inbox.finished()

    def _vitals(self, loop: asyncio.AbstractEventLoop) -> Vitals:
        """Measure; called by the pulse on its own thread, so the worker is told on the node's `loop`."""
        worker = self._worker
        vitals = self._signs.measure(status=self.status, open_tasks=0 if worker is None else worker.open_tasks)
        if worker is not None and self._signs.is_strained != self._is_strained:
            self._is_strained = self._signs.is_strained
            loop.call_soon_threadsafe(worker.strain, self._signs.is_strained)
        return vitals

    def _silent_ms(self) -> int:
        return 0 if self._pulse is None else self._pulse.silent_ms

    def _claimer(self) -> Claimer:
        if self._claims_as is None:
            self._claims_as = claimer_of(self._character.profile(), incarnation=self._membership.incarnation)
        return self._claims_as

    def joined(self, membership: Membership) -> None:
        """The pulse joined again under a new incarnation: claim as that from now on."""
        self._membership = membership
        self._claims_as = None

    def failed(self, error: BaseException) -> None:
        """The node is no member any more and cannot be one: stop, and report nothing about what runs here."""
        logger.error("node %s stops: %s", self._character.name, error)
        self.failure = error
        self._stop.set()

    def drain_requested(self, requested: bool) -> None:
        """Somebody asked this node to claim no more, or withdrew that."""
        self._drain_requested = requested
        if self._worker is not None:
            self._worker.pause(requested)
        if self._pulse is not None:
            self._pulse.beat_soon()

    def lost(self, task_ids: Sequence[str]) -> None:
        """Tasks were taken from this node: stop their handlers."""
        if self._worker is not None:
            self._worker.stop_tasks(StopCause.LOST, task_ids)

    def cancel_requested(self, task_ids: Sequence[str]) -> None:
        """Tasks were cancelled: ask their handlers to stop."""
        if self._worker is not None:
            self._worker.stop_tasks(StopCause.CANCELLED, task_ids)
