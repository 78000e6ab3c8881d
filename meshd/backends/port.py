"""What every backend hands out: the ports, opened on one store for one mesh."""

from dataclasses import dataclass, field
from typing import Protocol

from meshd.clock import Clock
from meshd.events import EventBus
from meshd.memory.model import MemoryLimits
from meshd.memory.store import MemoryStore
from meshd.nodes.model import NodeTimings
from meshd.nodes.store import NodeStore
from meshd.records import RecordStore
from meshd.tasks.model import Durability, TaskTimings
from meshd.tasks.store import TaskStore


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """How to open a store."""

    mesh: str = "default"
    """Name of the mesh: meshes on one store do not see each other."""
    nodes: NodeTimings = field(default_factory=NodeTimings)
    tasks: TaskTimings = field(default_factory=TaskTimings)
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    pool_size: int = 20
    """Most connections one opened Redis backend uses at once, blocking ones aside."""
    timeout_ms: int = 5_000
    """Longest any single call may take before it is an `UnavailableError`."""
    durability: Durability | None = None
    """Level every write must reach before it is answered; `None` takes what the store is set up for."""
    replicas: int = 1
    """Replicas that must confirm a write at level D3."""
    queue_size: int | None = None
    """Most tasks that may wait (scheduled, blocked or ready); a submit over it is refused whole."""
    partitions: int | None = None
    """Parts the tasks of a new mesh are kept in, for good; `None`: 1 on one server, 8 per primary on a cluster."""
    accept_eviction: bool = False
    """Use a Redis that may evict keys when its memory is full: tasks can vanish then."""
    clock: Clock | None = None
    """For tests: replaces the store's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendHealth:
    """How the store answers right now."""

    url: str
    """Where it is, password hidden."""
    kind: str
    """Protocol name as in the settings: `sqlite_local` or `redis_distributed`."""
    version: str
    latency_ms: float
    durability: Durability
    replicas: int | None = None
    """Replicas that follow the store now, or its part that has fewest; `None` for a store that has none by kind."""
    alarms: tuple[str, ...] = ()
    """What is wrong with how the store is set up, each with its fix."""


class Backend(Protocol):
    """One store, one mesh, all ports. Closing it ends every subscription and waiting call."""

    @property
    def nodes(self) -> NodeStore: ...
    @property
    def tasks(self) -> TaskStore: ...
    @property
    def memory(self) -> MemoryStore: ...
    @property
    def records(self) -> RecordStore: ...
    @property
    def events(self) -> EventBus: ...

    async def health(self) -> BackendHealth:
        """Measure one round trip.

        Raises:
            StoreUnreachableError: no answer within the timeout.
        """
        ...

    async def aclose(self) -> None:
        """Release every connection and file. Idempotent."""
        ...
