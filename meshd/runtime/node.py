"""Node: joins a mesh, runs the tasks it has handlers for, drains and leaves."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from meshd.backends import Backend, split_url
from meshd.backends.bootstrap import open_first
from meshd.errors import AlreadyExistsError, ConfigurationError, MeshError, UnavailableError
from meshd.ids import check_name, new_id
from meshd.memory.service import Memory
from meshd.messages.model import MessageType
from meshd.messages.service import Messages
from meshd.nodes.model import TASKLESS, Agent, Level, NodeProfile, NodeStatus, NodeType
from meshd.runtime.arrival import once_reachable
from meshd.runtime.decisions import Decisions
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.here import call_here
from meshd.runtime.kinds import check_kind, decides
from meshd.runtime.life import Character, Life, Place
from meshd.runtime.message_handlers import MessageHandler, MessageTable
from meshd.runtime.outage import Outage
from meshd.runtime.talk import TALK, Talk
from meshd.settings import Settings
from meshd.tasks.routing import capability, check_label
from meshd.version import VERSION

if TYPE_CHECKING:
    from meshd.groups.service import Groups
    from meshd.runtime.agents import AutonomousAgent
    from meshd.runtime.voting import Policy
    from meshd.votes.service import VoteService

logger = logging.getLogger(__name__)

T = TypeVar("T")
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
        self._message_handlers = MessageTable()
        self._beside: list[Callable[[], AbstractAsyncContextManager[object]]] = []
        self._hosted: dict[str, AutonomousAgent] = {}
        self._talk = Talk()
        self._protocol = ""
        self._life: Life | None = None
        self._has_joined = False
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

    def on_message(self, type: str = "") -> Callable[[MessageHandler], MessageHandler]:
        """Register the decorated function for messages of a type to this node or its agents; without one, for the rest.

        What it returns, if not `None`, is sent back as the reply; if it raises, it gets the message again.

        Raises:
            AlreadyExistsError: this node has a handler for the type.
        """

        def register(function: MessageHandler) -> MessageHandler:
            self._message_handlers.add(type, function)
            return function

        return register

    def stand_in(self, addressee: str, handler: MessageHandler) -> None:
        """Have `handler` take every message to an addressee that is neither this node nor an agent on it.

        Raises:
            AlreadyExistsError: this node has a handler for the addressee.
        """
        self._message_handlers.stand_in(addressee, handler)

    def beside(self, part: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """Have what `part` returns open while the node runs: entered before it joins, left after it has gone."""
        self._beside.append(part)

    def on_proposal(self, policy: "Policy") -> "Policy":
        """Let this node's agents vote as `policy` says when they are asked; it stays callable as before.

        Raises:
            AlreadyExistsError: this node has a policy, or a handler of `waggle` messages.
        """
        from meshd.runtime.voting import Voting  # noqa: PLC0415 -- for nodes that vote

        voting = Voting(
            policy, votes=lambda: self.votes, incarnation=lambda: 0 if self._life is None else self._life.incarnation
        )
        self._message_handlers.add(MessageType.WAGGLE, voting.asked)
        return policy

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

    def host(self, *agents: "AutonomousAgent") -> Self:
        """Let these agents live on this node, and return it: they take part in working groups while it runs.

        Raises:
            AlreadyExistsError: one of this name lives here.
            ConfigurationError: the node runs already, or one lives elsewhere or has no `on_start`.
        """
        for agent in agents:
            if self._life is not None:
                raise ConfigurationError(f"node {self.name} runs already: host agent {agent.name} before it does")
            if agent.name in self._hosted:
                raise AlreadyExistsError(f"agent {agent.name} lives on node {self.name} already")
            if not self._hosted:
                self._message_handlers.add(TALK, self._talk.hear)
            agent.settle_on(self, self._talk)
            self._hosted[agent.name] = agent
            skills = frozenset(skill.name for skill in agent.declared_skills)
            self.add_agent(Agent(id=agent.name, name=agent.name, role=agent.role, capabilities=skills))
        return self

    def add_agent(self, agent: Agent) -> None:
        """Register or update an agent on this node; lookups follow within one beat of a running node."""
        check_name("agent", agent.id)
        self._agents[agent.id] = agent
        if self._life is not None:
            self._life.declared_anew()

    def remove_agent(self, agent_id: str) -> None:
        """Unregister an agent; harmless when there is none of this id."""
        if self._agents.pop(agent_id, None) is not None and self._life is not None:
            self._life.declared_anew()

    def has_agent(self, agent_id: str) -> bool:
        """Return whether an agent of this id is registered on this node."""
        return agent_id in self._agents

    @property
    def hosted_agents(self) -> frozenset[str]:
        """Names of the agents that live on this node and take part in working groups."""
        return frozenset(self._hosted)

    @property
    def task_types(self) -> frozenset[str]:
        """Task types this node has handlers for."""
        return self._handlers.task_types

    @property
    def message_types(self) -> frozenset[str]:
        """Message types this node has handlers for; `""` is that of all others."""
        return self._message_handlers.types

    @property
    def memory(self) -> Memory:
        """What the mesh knows, in this node's own replica; only while it runs."""
        return _living(self, None if self._life is None else self._life.memory)

    @property
    def messages(self) -> Messages:
        """What this node says to others and asks them; only while it runs."""
        inbox = _living(self, None if self._life is None else self._life.inbox)
        return inbox.messages

    @property
    def votes(self) -> "VoteService":
        """What the mesh decides together; only while it runs."""
        return _living(self, None if self._life is None else self._life.votes)

    @property
    def groups(self) -> "Groups":
        """Agents that team up; only while it runs."""
        return _living(self, None if self._life is None else self._life.groups)

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
            capacity=0 if self.type in TASKLESS else self.concurrency,
            version=VERSION,
            levels=self._levels,
            labels=self._labels,
        )

    @property
    def status(self) -> NodeStatus:
        """What this node says of itself now."""
        return NodeStatus.INITIALIZING if self._life is None else self._life.status

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
            if self._has_joined or not self._stop.is_set():
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
            ConfigurationError: its type and its handlers do not go together.
            MeshError: the store cannot be used.
        """
        settings = settings or Settings.load()
        urls = (url,) if url else settings.store_urls
        options = settings.backend_options()
        if mesh is not None:
            options = replace(options, mesh=check_name("mesh", mesh))
        check_kind(self.type, task_types=self.task_types, keeps_replica=settings.memory_sync.enabled)
        self._protocol = PROTOCOLS.get(split_url(urls[0]).scheme.partition("+")[0], "")
        self._has_joined = False
        self._stop.clear()
        self._stop_now.clear()
        if settings.auto_join_network and not self._agents:
            self._agents[self.name] = self._own_agent()
        reached, backend = await once_reachable(
            partial(open_first, urls, options),
            patience_s=settings.join_patience_seconds,
            outage=Outage(logger, f"joining mesh {options.mesh}"),
            stopped=self._stop.is_set,
            rng=Random(),
        )
        place = Place(backend=backend, url=reached, options=options, settings=settings)
        self._life = Life(self._character(self._offered(backend)), place, stop=self._stop, hurry=self._stop_now)
        try:
            async with AsyncExitStack() as stack:
                for part in self._beside:
                    await stack.enter_async_context(part())
                await stack.enter_async_context(self._life.living())
                self._has_joined = True
                yield self
        finally:
            self._life = None
            await backend.aclose()

    def _offered(self, backend: Backend) -> HandlerTable:
        """Return what this node runs: its handlers, and those by which nodes decide about tasks."""
        if not decides(self.type, capacity=self.concurrency):
            return self._handlers
        return Decisions(backend, votes=lambda: self.votes).beside(self._handlers)

    def _character(self, handlers: HandlerTable) -> Character:
        return Character(
            name=self.name,
            profile=lambda: replace(self.profile, task_types=handlers.task_types),
            handlers=handlers,
            message_handlers=self._message_handlers,
            capacity=self.concurrency,
            grace_s=self._grace.total_seconds(),
            hosted=tuple(self._hosted.values()),
        )

    def _own_agent(self) -> Agent:
        return Agent(
            id=self.name,
            name=self.name,
            role=self._role,
            capabilities=self._capabilities,
            specializations=self._specializations,
        )


def _living(node: Node, part: T | None) -> T:
    if part is None:
        raise MeshError(f"node {node.name} does not run: what belongs to its life is there only while it does")
    return part
