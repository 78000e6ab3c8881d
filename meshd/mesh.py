"""Mesh: the async door to everything. It opens one store and hands out the services that stand on it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from meshd.addressees import everyone
from meshd.backends import Backend, redact
from meshd.backends.bootstrap import open_first
from meshd.electors import votes_of
from meshd.errors import ConfigurationError, MeshError
from meshd.events import EventBus
from meshd.ids import check_name, new_id
from meshd.memory.access import Author
from meshd.memory.hub_access import HubAccess
from meshd.memory.meeting import meet
from meshd.memory.prefixes import rank_of
from meshd.memory.requesting import Progress
from meshd.memory.sealing import Seal
from meshd.memory.service import Memory
from meshd.memory.syncing import SyncReport
from meshd.messages.service import Messages
from meshd.nodes.model import Verdict, node_topic
from meshd.nodes.service import NodeService
from meshd.records import RecordStore
from meshd.settings import Settings
from meshd.tasks.admission import Admission
from meshd.tasks.rates import CompletionRate, completion_rate
from meshd.tasks.request import TaskDefaults
from meshd.tasks.service import TaskService
from meshd.tasks.waiting import EndWatcher
from meshd.topology.service import TopologyService
from meshd.upkeep import UpkeepReport, keep_up
from meshd.uses import MessageUses
from meshd.votes.service import VoteService

if TYPE_CHECKING:
    from meshd.groups.service import Groups

T = TypeVar("T")


class Mesh:
    """One mesh, seen from this process.

        async with Mesh("redis://localhost") as mesh:
            handle = await mesh.tasks.submit("text.analyze", text="…", priority="high")
            print(await handle.result())

    Without arguments the store and the mesh's name come from the settings. Opening it joins nothing: a `Node` joins.
    """

    def __init__(self, url: str | None = None, *, mesh: str | None = None, settings: Settings | None = None) -> None:
        self._settings = settings or Settings.load()
        self._urls = (url,) if url else self._settings.store_urls
        options = self._settings.backend_options()
        self._options = replace(options, mesh=check_name("mesh", mesh or options.mesh))
        self._backend: Backend | None = None
        self._watcher: EndWatcher | None = None
        self._tasks: TaskService | None = None
        self._nodes: NodeService | None = None
        self._access: HubAccess | None = None
        self._memory: Memory | None = None
        self._messages: Messages | None = None
        self._uses: MessageUses | None = None
        self._topology: TopologyService | None = None
        self._votes: VoteService | None = None
        self._groups: Groups | None = None
        self._client = ""

    @property
    def url(self) -> str:
        """Where the store is, password hidden."""
        return redact(self._urls[0])

    @property
    def name(self) -> str:
        """The mesh's name."""
        return self._options.mesh

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def backend(self) -> Backend:
        return _opened(self._backend)

    @property
    def tasks(self) -> TaskService:
        return _opened(self._tasks)

    @property
    def nodes(self) -> NodeService:
        return _opened(self._nodes)

    @property
    def memory(self) -> Memory:
        return _opened(self._memory)

    @property
    def messages(self) -> Messages:
        return _opened(self._messages)

    @property
    def topology(self) -> TopologyService:
        return _opened(self._topology)

    @property
    def votes(self) -> VoteService:
        return _opened(self._votes)

    @property
    def groups(self) -> "Groups":
        """Agents that team up, made for whoever asks first."""
        if self._groups is None:
            from meshd.teaming import groups_of  # noqa: PLC0415 -- for those who team up

            name = self._settings.node_name or self._client
            self._groups = groups_of(self.backend, self._settings.groups, name=name)
        return self._groups

    @property
    def records(self) -> RecordStore:
        return self.backend.records

    @property
    def events(self) -> EventBus:
        return self.backend.events

    async def open(self) -> Self:
        """Connect to the store. Idempotent.

        Raises:
            ConfigurationError: the URL names no store meshd knows.
            StoreUnreachableError: nothing answers there.
            CorruptDataError: what is there is not a sound meshd store.
        """
        if self._backend is None:
            url, backend = await open_first(self._urls, self._options)
            self._urls = (url,)
            client = self._client = f"client:{new_id()}"
            self._backend = backend
            self._watcher = EndWatcher(backend.tasks, backend.events, topic=client)
            self._messages = self._open_messages(backend, client)
            author = self._settings.node_name or client
            self._votes = votes_of(backend, self._messages, self._settings.votes, proposer=author)
            self._nodes = NodeService(
                backend.nodes,
                events=backend.events,
                open_counts=backend.tasks.open_counts,
                call_node=self._call_node,
            )
            self._topology = TopologyService(
                backend.records,
                backend.events,
                self._settings.topology.options(),
                look_at_nodes=backend.nodes.list,
            )
            self._tasks = TaskService(
                backend.tasks,
                admission=Admission(backend.tasks, patience_s=self._settings.tasks.queue_wait_seconds),
                watcher=self._watcher,
                defaults=self._defaults(client),
                look_at_nodes=self._nodes.list,
                call_node=self._call_node,
                placement=self._settings.placement(),
                nearness=partial(self._topology.nearness, own) if (own := self._settings.node_name) else None,
            )
            try:
                self._access, self._memory = self._open_memory(backend, client)
            except ConfigurationError:
                await self.aclose()
                raise
        return self

    async def aclose(self) -> None:
        """Close the connection; waits in progress are cancelled. Idempotent."""
        if self._groups is not None:
            await self._groups.aclose()
        if self._watcher is not None:
            await self._watcher.aclose()
        if self._messages is not None:
            await self._messages.aclose()
        if self._uses is not None:
            await self._uses.aclose()
        if self._access is not None:
            await self._access.aclose()
        if self._backend is not None:
            await self._backend.aclose()
        self._backend = self._watcher = self._tasks = self._nodes = self._access = self._memory = None
        self._messages = self._uses = self._topology = self._votes = self._groups = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def sweep(self) -> UpkeepReport:
        """Run one round of upkeep now; nodes do it all the time."""
        return await keep_up(self.backend)

    async def sync(self, *, timeout: timedelta = timedelta(seconds=30), progress: Progress | None = None) -> SyncReport:
        """Have every live replica exchange with the store what either lacks, until each has what any of them had."""
        nodes = await self.nodes.list(include_dead=True)
        live = {node.id for node in nodes if node.verdict is not Verdict.DEAD}
        replicas = [member.node for member in await self.memory.members() if member.node in live]
        return await meet(self.backend.memory, self.events, nodes=replicas, timeout=timeout, progress=progress)

    async def completion_rate(self, window: timedelta = timedelta(hours=1)) -> CompletionRate:
        """Return how tasks ended in the last `window`, exact as far back as the event log reaches."""
        return await completion_rate(self.events, window=window)

    def _open_memory(self, backend: Backend, client: str) -> tuple[HubAccess, Memory]:
        own = self._settings.memory_sync
        seal = Seal(own.secret.get_secret_value())
        access = HubAccess(backend.memory, seal, options=own.sync_options(), holder=client)
        rank = rank_of(self._settings.node_type, own.source_priority)
        author = Author(node=self._settings.node_name, rank=rank)
        memory = Memory.over(access, rules=own.rules(), author=author, is_compressing=own.compression_enabled)
        return access, memory

    def _open_messages(self, backend: Backend, client: str) -> Messages:
        uses = self._uses = MessageUses(backend.events, by=client)
        return Messages(
            backend.records,
            backend.events,
            sender=client,
            options=self._settings.messages.options(),
            everyone=lambda: everyone(backend),
            on_sent=uses.sent,
        )

    async def _call_node(self, node_id: str) -> None:
        await self.events.publish(node_topic(node_id), {})

    def _defaults(self, client: str) -> TaskDefaults:
        return TaskDefaults(
            policy=self._settings.task_policy(),
            max_payload_bytes=self._settings.max_payload_bytes,
            created_by=self._settings.node_name or client,
            max_nodes=self._settings.groups.max_size,
        )


def _opened(part: T | None) -> T:
    if part is None:
        raise MeshError("this mesh is not open: use `async with Mesh(...) as mesh`, or await mesh.open()")
    return part
