"""Node: joins a mesh, runs the tasks it has handlers for, drains and leaves."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, ParamSpec, TypeVar

from meshd.backends import open_backend, split_url
from meshd.backends.port import Backend, BackendOptions
from meshd.errors import MeshError, UnavailableError
from meshd.ids import check_name, new_id
from meshd.memory.service import Memory
from meshd.nodes.model import Agent, Level, Membership, NodeProfile, NodeStatus, NodeType, Vitals
from meshd.runtime.arrival import once_reachable
from meshd.runtime.execution import StopCause
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.here import call_here
from meshd.runtime.holds import Holds
from meshd.runtime.memory import memory_of
from meshd.runtime.outage import Outage
from meshd.runtime.pulse import Pulse, PulseSettings
from meshd.runtime.vitals import Limits, Tally, VitalSigns
from meshd.runtime.worker import Worker, WorkerSettings
from meshd.settings import Settings
from meshd.tasks.model import Claimer
from meshd.tasks.routing import capability, check_label, claimer_of
from meshd.version import VERSION

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PROTOCOLS = {"sqlite": "sqlite_local", **dict.fromkeys(("redis", "rediss", "unix"), "redis_distributed")}


class Node:
    """One member of a mesh.

        node = Node("reader-1", capabilities=["text.analyze", "german=expert"], labels={"zone": "eu"})

        @node.task("text.analyze")
        async def analyze(text: str) -> dict[str, int]: ...

        asyncio.run(node.run("redis://localhost"))

    A handler may be sync (it runs in a thread) or async; its type hints check the payload. Without a name, the node
    gets one that no other node has.
    """

    def __init__(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        name: str | None = None,
        *,
        type: str = NodeType.GENERAL,
        capabilities: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        specializations: Iterable[str] = (),
        agents: Iterable[Agent] = (),
        role: str = "",
        concurrency: int = 8,
        port: int = 0,
        grace: timedelta = timedelta(seconds=30),
    ) -> None:
        self.name = check_name("node", name or f"node-{new_id().lower()}")
        self.type = check_name("node type", type)
        self.concurrency = concurrency
        self._levels: dict[str, Level] = {}
        self._capabilities = self._checked(capabilities)
        self._labels = dict(check_label(label, value) for label, value in (labels or {}).items())
        self._specializations = tuple(specializations)
        self._agents = {agent.id: agent for agent in agents}
        self._role = role
        self._port = port
        self._host = socket.gethostname()
        self._grace = grace
        self._handlers = HandlerTable()
        self._holds = Holds()
        self._tally = Tally()
        self._limits = Limits()
        self._protocol = ""
        self._membership = Membership(node_id=self.name, incarnation=0)
        self._claims_as: Claimer | None = None
        self._worker: Worker | None = None
        self._memory: Memory | None = None
        self._pulse: Pulse | None = None
        self._initializing = True
        self._is_strained = False
        self._draining = False
        self._drain_requested = False
        self._failure: BaseException | None = None
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    def task(self, task_type: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Register the decorated function as the handler of `task_type`; it stays callable as before.

        Raises:
            AlreadyExistsError: this node has a handler for the type.
            ConfigurationError: the function's parameters cannot be passed by name.
        """

        def register(function: Callable[P, R]) -> Callable[P, R]:
            self._handlers.add(task_type, function)
            return function

        return register

    def adjust(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        *,
        name: str | None = None,
        type: str | None = None,
        capabilities: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        role: str | None = None,
        concurrency: int | None = None,
        port: int | None = None,
        grace: timedelta | None = None,
        host: str = "",
        specializations: Iterable[str] = (),
    ) -> None:
        """Change what the constructor was given, before the node runs; `None` keeps it, lists are added to it."""
        self.name = check_name("node", name or self.name)
        self.type = check_name("node type", type or self.type)
        self._capabilities |= self._checked(capabilities)
        self._labels |= dict(check_label(label, value) for label, value in (labels or {}).items())
        self._role = self._role if role is None else role
        self.concurrency = concurrency or self.concurrency
        self._port = self._port if port is None else port
        self._grace = self._grace if grace is None else grace
        self._host = host or self._host
        self._specializations = tuple(dict.fromkeys((*self._specializations, *specializations)))

    def _checked(self, capabilities: Iterable[str]) -> frozenset[str]:
        """Return the names among `capabilities`, and keep the levels."""
        parts = [capability(text) for text in capabilities]
        self._levels |= {name: level for name, level in parts if level is not None}
        return frozenset(name for name, _ in parts)

    def add_agent(self, agent: Agent) -> None:
        """Register or update an agent on this node; lookups follow within one beat of a running node."""
        check_name("agent", agent.id)
        self._agents[agent.id] = agent
        self._claims_as = None
        if self._pulse is not None:
            self._pulse.announce_soon()

    def remove_agent(self, agent_id: str) -> None:
        """Unregister an agent; harmless when there is none of this id."""
        self._claims_as = None
        if self._agents.pop(agent_id, None) is not None and self._pulse is not None:
            self._pulse.announce_soon()

    @property
    def task_types(self) -> frozenset[str]:
        """Task types this node has handlers for."""
        return self._handlers.task_types

    @property
    def memory(self) -> Memory:
        """What the mesh knows, in this node's own replica; only while it runs."""
        if self._memory is None:
            raise MeshError(f"node {self.name} does not run: its memory is there while it does")
        return self._memory

    @property
    def profile(self) -> NodeProfile:
        """What this node declares."""
        return NodeProfile(
            id=self.name,
            type=self.type,
            host=self._host,
            port=self._port,
            pid=os.getpid(),
            protocol=self._protocol,
            capabilities=self._capabilities,
            specializations=self._specializations,
            agents=tuple(self._agents.values()),
            task_types=self._handlers.task_types,
            capacity=self.concurrency,
            version=VERSION,
            levels=self._levels,
            labels=self._labels,
        )

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

    async def call(self, task_type: str, payload: Mapping[str, Any]) -> Any:
        """Run one of this node's handlers here and now, without any mesh; see `call_here`."""
        return await call_here(self._handlers, task_type, payload)

    def stop(self) -> None:
        """Drain and leave: claim nothing more, finish what runs within the grace, give the rest back."""
        self._stop.set()

    def stop_now(self) -> None:
        """Leave at once: running tasks are stopped and given back, no attempt charged."""
        self._stop.set()
        self._stop_now.set()

    async def run(self, url: str | None = None, *, mesh: str | None = None, settings: Settings | None = None) -> None:
        """Join, work until SIGTERM or SIGINT (a second one hurries) or `stop`, drain, leave.

        A store that is away when the node starts is waited for, as long as `join_patience_seconds` says.

        Raises:
            FencedError: another process joined under this node's name.
            MeshError: the store cannot be used.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: self.stop_now() if self._stop.is_set() else self.stop())
        try:
            async with self.running(url, mesh=mesh, settings=settings):
                await self._stop.wait()
        except UnavailableError:
            if not (self._initializing and self._stop.is_set()):
                raise
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    @asynccontextmanager
    async def running(
        self, url: str | None = None, *, mesh: str | None = None, settings: Settings | None = None
    ) -> AsyncGenerator["Node", None]:
        """Be a member for the length of the block: joined and eligible at its start, drained and gone at its end.

        Raises:
            MeshError: the store cannot be used.
        """
        settings = settings or Settings.load()
        url = url or settings.store_url
        options = settings.backend_options()
        if mesh is not None:
            options = replace(options, mesh=check_name("mesh", mesh))
        self._protocol = PROTOCOLS.get(split_url(url).scheme.partition("+")[0], "")
        self._prepare(settings)
        backend = await once_reachable(
            partial(open_backend, url, options),
            patience_s=settings.join_patience_seconds,
            outage=Outage(logger, f"joining mesh {options.mesh}"),
            stopped=self._stop.is_set,
            rng=Random(),
        )
        try:
            async with (
                memory_of(backend, self.profile, options=options, settings=settings) as self._memory,
                self._working(backend, url=url, options=options, settings=settings),
            ):
                yield self
            if self._failure is not None:
                raise self._failure
        finally:
            await backend.aclose()

    def _prepare(self, settings: Settings) -> None:
        self._draining = False
        self._initializing = True
        self._is_strained = False
        self._failure = None
        self._limits = Limits(memory_mb=settings.memory_limit_mb, cpu_percent=settings.cpu_limit_percent)
        self._stop.clear()
        self._stop_now.clear()
        if settings.auto_join_network and not self._agents:
            own = Agent(
                id=self.name,
                name=self.name,
                role=self._role,
                capabilities=self._capabilities,
                specializations=self._specializations,
            )
            self._agents[own.id] = own

    @asynccontextmanager
    async def _working(
        self, backend: Backend, *, url: str, options: BackendOptions, settings: Settings
    ) -> AsyncGenerator[None, None]:
        signs = VitalSigns(self._tally, limits=self._limits)
        pulse = Pulse(
            PulseSettings(
                url=url,
                options=options,
                profile=lambda: self.profile,
                vitals=partial(self._vitals, signs, asyncio.get_running_loop()),
                holds=self._holds,
                patience_s=settings.join_patience_seconds,
            ),
            self,
        )
        worker = Worker(
            backend.tasks,
            self._handlers,
            WorkerSettings(
                capacity=self.concurrency,
                timings=options.tasks,
                max_result_bytes=settings.max_payload_bytes,
                claimer=self._claimer,
            ),
            holds=self._holds,
            tally=self._tally,
            renew_soon=pulse.renew_soon,
        )
        self._pulse, self._worker = pulse, worker
        try:
            self.joined(await pulse.start())
            self._initializing = False
            pulse.beat_soon()
            logger.info(
                "node %s joined mesh %s as incarnation %d", self.name, options.mesh, self._membership.incarnation
            )
            working = asyncio.create_task(worker.run(), name="meshd worker")
            working.add_done_callback(lambda _: self._stop.set())
            try:
                yield
            finally:
                await self._drain(worker, working, pulse)
        finally:
            await pulse.aclose()
            self._pulse = self._worker = None
            logger.info("node %s left", self.name)

    async def _drain(self, worker: Worker, working: asyncio.Task[None], pulse: Pulse) -> None:
        self._draining = True
        worker.stop()
        pulse.beat_soon()
        if self._failure is not None:
            worker.stop_tasks(StopCause.LOST)
        hurry = asyncio.create_task(self._stop_now.wait())
        await asyncio.wait({working, hurry}, timeout=self._grace.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not working.done():
            worker.stop_tasks(StopCause.DRAINED)
            await asyncio.wait({working}, timeout=2.0)
        if not working.done():
            logger.warning("%d handlers did not stop; their tasks are taken back from them", worker.open_tasks)
            working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    def _vitals(self, signs: VitalSigns, loop: asyncio.AbstractEventLoop) -> Vitals:
        """Measure; called by the pulse on its own thread, so the worker is told on the node's `loop`."""
        worker = self._worker
        vitals = signs.measure(status=self.status, open_tasks=0 if worker is None else worker.open_tasks)
        if worker is not None and signs.is_strained != self._is_strained:
            self._is_strained = signs.is_strained
            loop.call_soon_threadsafe(worker.strain, signs.is_strained)
        return vitals

    def _claimer(self) -> Claimer:
        if self._claims_as is None:
            self._claims_as = claimer_of(self.profile, incarnation=self._membership.incarnation)
        return self._claims_as

    def joined(self, membership: Membership) -> None:
        """The pulse joined again under a new incarnation: claim as that from now on."""
        self._membership = membership
        self._claims_as = None

    def failed(self, error: BaseException) -> None:
        """The node is no member any more and cannot be one: stop, and report nothing about what runs here."""
        logger.error("node %s stops: %s", self.name, error)
        self._failure = error
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
