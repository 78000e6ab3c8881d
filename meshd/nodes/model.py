"""What the mesh knows about a node: what it says of itself, what it measured, what the mesh concludes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import ClassVar


class NodeType(StrEnum):
    """The kinds of node meshd ships; any other valid name may be used as a type too."""

    GENERAL = "general"
    LANGUAGE_EXPERT = "language_expert"
    PLANNING_ONLY = "planning_only"
    SENSOR_CONNECTED = "sensor_connected"
    MEMORY_HEAVY = "memory_heavy"
    COMPUTE_HEAVY = "compute_heavy"
    COORDINATION_HUB = "coordination_hub"
    WORKER = "worker"
    """Runs tasks."""
    COORDINATOR = "coordinator"
    """Plays the roles that see to the others' work, and runs no tasks."""
    STORAGE = "storage"
    """Keeps a replica of the shared memory, and runs no tasks."""
    BRIDGE = "bridge"
    """Carries chosen tasks and messages on to another mesh."""


TASKLESS = frozenset({NodeType.COORDINATOR, NodeType.STORAGE})
"""Kinds of node that have no handlers."""


class NodeStatus(StrEnum):
    """What a node says of itself."""

    INITIALIZING = "initializing"
    """Joined and visible; its handlers are being prepared, so it claims nothing yet."""
    ACTIVE = "active"
    """Has a free slot."""
    BUSY = "busy"
    """Every slot is taken; it claims nothing until one ends."""
    DEGRADED = "degraded"
    """Works, but over its own CPU or memory limit: it holds one task at a time. Or was told to drain."""
    SHUTTING_DOWN = "shutting_down"
    """Finishes what it started and claims nothing more."""


class Verdict(StrEnum):
    """What the mesh concludes about a node."""

    ALIVE = "alive"
    """Its last beat is younger than the node timeout."""
    SUSPECT = "suspect"
    """Its beats are later than they were ever likely to be (phi over 8), and no sweep has judged it yet."""
    PARTITIONED = "partitioned"
    """Cut from the store, but other nodes reach it: still a member, gets no new work, its leases run out as usual."""
    DEAD = "dead"
    """Judged: nobody hears it. Its incarnation is retired and its tasks are given to others."""


class Level(IntEnum):
    """How well a node does what it can do; each includes the ones below."""

    NOVICE = 1
    INTERMEDIATE = 2
    ADVANCED = 3
    EXPERT = 4


def node_topic(node_id: str) -> str:
    """Return the hint topic a node listens to: any hint there makes it beat and renew at once."""
    return f"node:{node_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent living on a node."""

    id: str
    name: str
    role: str = ""
    """Free text: reasoner, memory, analyzer, validator, planner, executor, …"""
    capabilities: frozenset[str] = frozenset()
    specializations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProfile:
    """What a node declares when it joins, and may change while it lives."""

    id: str
    type: str = NodeType.GENERAL
    host: str = ""
    port: int = 0
    """The port the node reports; 0 when it listens on none."""
    address: str = ""
    """`host:port` of its links to other nodes; empty without links."""
    pid: int = 0
    protocol: str = ""
    capabilities: frozenset[str] = frozenset()
    specializations: tuple[str, ...] = ()
    agents: tuple[Agent, ...] = ()
    task_types: frozenset[str] = frozenset()
    """Types of task it has a handler for."""
    capacity: int = 1
    """How many tasks it runs at once."""
    version: str = ""
    levels: Mapping[str, Level] = field(default_factory=dict[str, Level])
    """How well it does those of its capabilities that have a level."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """What else tasks may ask of it: where it stands, what it has."""

    @property
    def all_capabilities(self) -> frozenset[str]:
        """Its own capabilities, its agents', and the task types it handles."""
        return self.capabilities.union(self.task_types, *(agent.capabilities for agent in self.agents))


HISTORY_HALF_LIFE_S = 600.0
"""Time in which what a node's history says of an ended task loses half its weight."""

HISTORY_TYPES = 16
"""Most task types a node reports a history of: those with the most weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeHistory:
    """How tasks of one type ended on a node of late: each counts 1 when its end is recorded, half a half-life later."""

    completed: float = 0.0
    failed: float = 0.0
    average_ms: float = 0.0
    """Weighted mean time from start to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What a node measured about itself at its last beat."""

    status: NodeStatus = NodeStatus.INITIALIZING
    open_tasks: int = 0
    """Tasks it holds: claimed or running."""
    tasks_completed: int = 0
    tasks_failed: int = 0
    average_response_ms: float = 0.0
    """Mean time from start to end of its ended tasks, in milliseconds; 0 before the first."""
    memory_mb: float = 0.0
    """Resident memory of the node's own process, in MiB."""
    cpu_percent: float = 0.0
    """CPU of the node's own process since the previous beat; 100 is one core."""
    history: Mapping[str, TypeHistory] = field(default_factory=dict[str, TypeHistory])
    """Per task type, since its process started."""

    @property
    def error_rate(self) -> float:
        """Failed share of all ended tasks, 0 to 1."""
        ended = self.tasks_completed + self.tasks_failed
        return self.tasks_failed / ended if ended else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Proof of one join: writes that carry an older incarnation change nothing."""

    node_id: str
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The store's answer to a heartbeat."""

    live_nodes: int
    """Nodes that no sweep has to judge now, this one included: their beat is current, or others vouch for them."""
    silent_nodes: int
    """Nodes whose silence a sweep judges now."""
    drain_requested: bool
    """Somebody asked this node to finish what it has and claim no more."""
    suspects: tuple[str, ...] = ()
    """Nodes that have missed beats and are not judged yet: whoever reaches them vouches for them. At most 100.

    One that somebody has just vouched for is named again when that is about to run out.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """What one node's probes of other nodes say."""

    reached: frozenset[str] = frozenset()
    """Nodes that answered a direct probe lately: so both directions work."""
    unreached: Mapping[str, int] = field(default_factory=dict[str, int])
    """Nodes that did not, each with the store time since when."""
    round_trip_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    """Median of the last probes, of those reached."""
    at_ms: int = 0
    """Store time of the report."""


FLAP_WINDOW_MS = 3_600_000
"""How long a node's coming back is remembered."""

MAX_FLAPS = 50
"""Most returns of one node that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node's full record, as any process reads it."""

    profile: NodeProfile
    incarnation: int
    verdict: Verdict
    vitals: Vitals
    joined_ms: int
    beat_ms: int
    """Store time of its last beat."""
    read_ms: int
    """Store time at which this record was read."""
    drain_requested: bool = False
    sightings: Sightings = field(default_factory=Sightings)
    vouched_ms: int = 0
    """Store time at which another node last said that it reaches this one while the store did not hear it; 0 never."""
    vouched_by: str = ""
    flaps: int = 0
    """How often it was suspected, partitioned or dead, and came back, in the last hour; at most `MAX_FLAPS`."""
    doubt_ms: int = 0
    """Store time from which its silence makes it suspect; moved by every beat."""
    bound_ms: int = 0
    """Store time from which its silence makes it dead, unless others vouch for it."""
    mean_beat_ms: float = 0.0
    """Mean interval of its beats, of about the last hundred."""
    beat_deviation_ms: float = 0.0
    """Standard deviation of those intervals."""

    @property
    def id(self) -> str:
        return self.profile.id

    @property
    def takes_tasks(self) -> bool:
        """Whether it will claim tasks: alive, and neither asked to drain nor shutting down."""
        leaving = self.drain_requested or self.vitals.status is NodeStatus.SHUTTING_DOWN
        return self.verdict is Verdict.ALIVE and not leaving

    @property
    def slots(self) -> int:
        """How many tasks it holds at once as things are: one while it is degraded."""
        return min(1, self.profile.capacity) if self.vitals.status is NodeStatus.DEGRADED else self.profile.capacity

    @property
    def load(self) -> float:
        """Open tasks over capacity, 0 to 1."""
        return min(self.vitals.open_tasks / self.profile.capacity, 1.0) if self.profile.capacity else 0.0

    @property
    def beat_age_ms(self) -> int:
        return max(0, self.read_ms - self.beat_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFilter:
    """Which nodes to list; empty fields match all."""

    capabilities: frozenset[str] = frozenset()
    """All of them must be held."""
    types: frozenset[str] = frozenset()
    include_dead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Holder:
    """A live holder of capabilities: a node, or one agent on it."""

    node_id: str
    agent_id: str = ""
    """Empty when the node itself is the holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTimings:
    """How long a silence means what."""

    MAX_STRETCH: ClassVar[float] = 2.5
    """How many timeouts a node may be silent at most, however irregularly it has beaten."""

    heartbeat_ms: int = 1_000
    timeout_ms: int = 4_000
    """A node that beats regularly and is silent this long is judged dead by the next sweep."""
    dead_retention_ms: int = 3_600_000
    """How long a dead node stays listed."""

    @property
    def gap_ms(self) -> int:
        """Silence of all nodes over which the store itself may have been away: then it proves nothing."""
        return max(1, self.timeout_ms - self.heartbeat_ms) // 2
