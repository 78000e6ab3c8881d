"""Settings: every choice a person can make about meshd, and where each came from.

Order: argument, environment (`MESHD_`, nested by `__`), settings file (`agent_mesh:` in config.yaml), default. A name
nobody knows is an error that says where it stands and which name is nearest. `Settings()` is the defaults alone;
`Settings.load()` is what a program wants.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from meshd.backends import BackendOptions, redact
from meshd.codec import parse_json
from meshd.errors import ConfigurationError, InvalidArgumentError, InvalidPayloadError
from meshd.ids import check_name
from meshd.nodes.model import NodeTimings, NodeType
from meshd.settings_bridge import BridgeSettings
from meshd.settings_groups import GroupsSettings
from meshd.settings_layers import Gathered, gather, leaf_keys
from meshd.settings_memory import MemorySyncSettings
from meshd.settings_messages import MessagesSettings
from meshd.settings_peers import PeersSettings
from meshd.settings_redis import RedisSettings
from meshd.settings_roles import RolesSettings
from meshd.settings_topology import TopologySettings
from meshd.settings_votes import VotesSettings
from meshd.tasks.model import Durability, TaskPolicy, TaskTimings
from meshd.tasks.placement import PlacementSettings
from meshd.tasks.routing import capability, labels_of
from meshd.tasks.scoring import RoutingPolicy

Protocol = Literal["sqlite_local", "redis_distributed"]
_LATER_PROTOCOLS = frozenset({"grpc_mesh", "hybrid"})
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
Names = tuple[str, ...]
_SECTION = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TaskDistributionSettings(BaseModel):
    """Which node a task is meant for, and what happens to a task that fails."""

    model_config = _SECTION

    algorithm: RoutingPolicy = RoutingPolicy.LATE_BINDING
    """How a task is placed: late_binding leaves it to whoever is idle first."""
    task_affinity_enabled: bool = True
    """Count in a placement how tasks of the type ended on each node."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Makes the placements of algorithm random repeatable; 0 draws anew in each process."""
    hold_back_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """How long a placed task waits for its node before any other may take it."""

    retry_failed_tasks: bool = True
    max_task_retries: Annotated[int, Field(ge=1, le=999)] = 3
    """Tries in all: a task that failed this often is dead."""
    max_task_crashes: Annotated[int, Field(ge=1, le=20)] = 3
    """Crashes of its node while running it, after which a task is dead."""
    retry_backoff_seconds: Annotated[float, Field(ge=0, le=86_400)] = 1.0
    retry_backoff_factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    retry_backoff_cap_seconds: Seconds = 300.0
    retry_jitter: bool = True

    @model_validator(mode="after")
    def _affinity_counts(self) -> Self:
        if self.algorithm is RoutingPolicy.AFFINITY and not self.task_affinity_enabled:
            raise ValueError("algorithm affinity needs task_affinity_enabled")
        return self


class TasksSettings(BaseModel):
    """How long a hold on a task lasts, and what is kept."""

    model_config = _SECTION

    lease_seconds: Seconds = 15.0
    renew_seconds: Seconds = 5.0
    sweep_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5
    """How often each node looks for what time made due: silent nodes, lapsed leases, delayed tasks."""
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    max_payload_bytes: Annotated[int, Field(ge=1, le=67_108_864)] = 1_048_576
    progress_timeout_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 0.0
    """How long an attempt may run without a sign of progress; 0 asks for none."""
    queue_size: Annotated[int, Field(ge=0)] = 0
    """Most tasks that may wait; a submit over it is refused. 0 sets no limit."""
    queue_wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """How long a submit waits for room in a full queue before it is refused."""
    result_ttl_seconds: Seconds = 86_400.0
    dead_ttl_seconds: Seconds = 604_800.0

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renew_seconds >= self.lease_seconds:
            raise ValueError(f"renew_seconds {self.renew_seconds} must be under lease_seconds {self.lease_seconds}")
        return self


class LoggingSettings(BaseModel):
    """What a process says about itself on stderr or in its log file."""

    model_config = _SECTION

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class AgentSettings(BaseModel):
    """One agent that lives on this node."""

    model_config = _SECTION

    name: str
    role: str = ""
    capabilities: tuple[str, ...] = ()
    specializations: tuple[str, ...] = ()


class Settings(BaseModel):
    """All settings of one process."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    enabled: bool = True
    """Off: commands leave the store alone until `mesh enable` has started this machine's node."""
    protocol: Protocol = "sqlite_local"
    url: Annotated[str, Field(repr=False)] = ""
    """Store url; empty: made from protocol and its section."""
    bootstrap_nodes: Annotated[Names, Field(repr=False)] = ()
    """Addresses of the store to try in turn, each a url or `host:port` of a Redis; used in place of the one address."""
    mesh: str = "default"
    """Name of the mesh: meshes on one store do not see each other."""
    node_type: str = NodeType.GENERAL.value
    node_name: str = ""
    """Id of this machine's node; empty: generated."""
    host: str = ""
    """Host the node reports; empty: the name of this machine."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9900
    """Of its links to other nodes, UDP and TCP, if it is free; else any."""
    heartbeat_interval_seconds: Seconds = 1.0
    node_timeout_seconds: Seconds = 4.0
    """Silence after which a node is judged dead."""
    dead_node_ttl_seconds: Seconds = 3_600.0
    """How long a dead node stays listed."""
    join_patience_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 60.0
    """How long a node that starts waits for a store it cannot reach."""
    durability: Literal["", "D0", "D1", "D2", "D3"] = ""
    """Least that every acknowledged write survives, D0 to D3; empty takes what the store is set up for."""
    store_timeout_seconds: Seconds = 5.0
    """Longest any single call to the store may take."""
    sqlite_db_path: str = ".meshd/mesh.db"
    state_dir: str = ".meshd"
    """Folder of PID files and logs."""
    capabilities: Names = ()
    """Each `name` or `name=level`, a level being novice, intermediate, advanced or expert."""
    specializations: Names = ()
    labels: Names = ()
    """What else tasks may ask of this machine's node: zone=eu, memory_gb=64."""
    max_capacity: Annotated[int, Field(ge=1, le=10_000)] = 8
    """How many tasks a node runs at once."""
    memory_limit_mb: Annotated[float, Field(ge=0)] = 0
    """Resident memory over which the node is degraded and holds one task at a time; 0 sets no limit."""
    cpu_limit_percent: Annotated[float, Field(ge=0)] = 0
    """CPU of the node's process over which it is degraded, 100 being one core; 0 sets no limit."""
    task_timeout_seconds: Seconds = 300.0
    auto_join_network: bool = True
    """A node that starts registers an agent of its own."""
    agents: tuple[AgentSettings, ...] = ()
    redis: RedisSettings = RedisSettings()
    task_distribution: TaskDistributionSettings = TaskDistributionSettings()
    tasks: TasksSettings = TasksSettings()
    memory_sync: MemorySyncSettings = MemorySyncSettings()
    messages: MessagesSettings = MessagesSettings()
    peers: PeersSettings = PeersSettings()
    topology: TopologySettings = TopologySettings()
    votes: VotesSettings = VotesSettings()
    groups: GroupsSettings = GroupsSettings()
    roles: RolesSettings = RolesSettings()
    bridge: BridgeSettings = BridgeSettings()
    logging: LoggingSettings = LoggingSettings()

    _given: Gathered = PrivateAttr(default_factory=Gathered)

    @classmethod
    def load(cls, config_file: Path | None = None, **overrides: Any) -> "Settings":
        """Return the settings in effect here; an override of `None` leaves the choice to the other sources.

        Without `config_file`: the file `$MESHD_CONFIG` names, else `./config.yaml` if it has an `agent_mesh` section.
        Sections are overridden as `redis={"host": "r"}` or `redis__host="r"`.

        Raises:
            UnknownSettingError: a file, the environment or an override names a setting that does not exist.
            ConfigurationError: a value cannot be used, or the file named cannot be read.
        """
        given = gather(cls, config_file, overrides)
        try:
            settings = cls.model_validate(given.nested())
        except ValidationError as exc:
            raise ConfigurationError(given.explain(exc)) from exc
        settings._given = given  # noqa: SLF001 - its own class
        return settings

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the person about the sources: older names in use."""
        return self._given.notes

    @property
    def store_url(self) -> str:
        """Return the url of the store, password included: the first that is tried.

        Raises:
            ConfigurationError: the password file cannot be read.
        """
        return self.store_urls[0]

    @property
    def store_urls(self) -> Names:
        """Return the addresses of the store, passwords included, in the order in which they are tried.

        Raises:
            ConfigurationError: the password file cannot be read.
        """
        if self.url:
            return (self.url,)
        if self.bootstrap_nodes:
            return tuple(self.redis.url_of(node) for node in self.bootstrap_nodes)
        return (self._made_url(),)

    def _made_url(self) -> str:
        return f"sqlite:///{self.sqlite_db_path}" if self.protocol == "sqlite_local" else self.redis.url

    @property
    def max_payload_bytes(self) -> int:
        return self.tasks.max_payload_bytes

    def backend_options(self) -> BackendOptions:
        """Return how to open the store."""
        return BackendOptions(
            mesh=self.mesh,
            nodes=NodeTimings(
                heartbeat_ms=_ms(self.heartbeat_interval_seconds),
                timeout_ms=_ms(self.node_timeout_seconds),
                dead_retention_ms=_ms(self.dead_node_ttl_seconds),
            ),
            tasks=TaskTimings(
                lease_ms=_ms(self.tasks.lease_seconds),
                renew_ms=_ms(self.tasks.renew_seconds),
                sweep_ms=_ms(self.tasks.sweep_seconds),
                poll_ms=_ms(self.tasks.poll_seconds),
            ),
            memory=self.memory_sync.limits(),
            queue_size=self.tasks.queue_size or None,
            pool_size=self.redis.connection_pool_size,
            durability=Durability(self.durability) if self.durability else None,
            replicas=self.redis.replicas,
            partitions=self.redis.partitions or None,
            accept_eviction=self.redis.accept_eviction,
            timeout_ms=_ms(self.store_timeout_seconds),
        )

    def placement(self) -> PlacementSettings:
        """Return how submitted tasks find their nodes."""
        routing = self.task_distribution
        return PlacementSettings(
            policy=routing.algorithm,
            counts_history=routing.task_affinity_enabled,
            seed=routing.seed or None,
            hold_back_ms=_ms(routing.hold_back_seconds),
            doubt_ms=2 * _ms(self.heartbeat_interval_seconds),
        )

    def task_policy(self) -> TaskPolicy:
        """Return the limits a submitted task gets when its caller sets none."""
        retry = self.task_distribution
        return TaskPolicy(
            max_attempts=retry.max_task_retries if retry.retry_failed_tasks else 1,
            max_crashes=retry.max_task_crashes,
            backoff_ms=round(retry.retry_backoff_seconds * 1000),
            backoff_factor=retry.retry_backoff_factor,
            backoff_cap_ms=_ms(retry.retry_backoff_cap_seconds),
            jitter=retry.retry_jitter,
            timeout_ms=_ms(self.task_timeout_seconds),
            progress_timeout_ms=round(self.tasks.progress_timeout_seconds * 1000),
            result_ttl_ms=_ms(self.tasks.result_ttl_seconds),
            dead_ttl_ms=_ms(self.tasks.dead_ttl_seconds),
        )

    def sources(self) -> dict[str, str]:
        """Return where each setting's value came from: `default`, `file …`, `environment …` or `argument`."""
        given = self._given.values
        return {key: given[key].source if key in given else "default" for key in leaf_keys(type(self))}

    def flat(self) -> dict[str, Any]:
        """Return every setting by its dotted key, passwords hidden."""
        values: dict[str, Any] = self.model_dump(mode="json")
        values["url"] = redact(self.url)
        values["bridge"]["url"] = redact(self.bridge.url)
        values["bootstrap_nodes"] = [redact(node) for node in self.bootstrap_nodes]
        return {key: _at(values, key) for key in leaf_keys(type(self))}

    @field_validator("protocol", mode="before")
    @classmethod
    def _available_protocol(cls, value: object) -> object:
        if value in _LATER_PROTOCOLS:
            raise ValueError(f"protocol {value} is not available yet; use sqlite_local or redis_distributed")
        return value

    @field_validator("bootstrap_nodes", "capabilities", "labels", "specializations", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return parse_json(value, what="list")
            except InvalidPayloadError as exc:
                raise ValueError(str(exc)) from exc
        return [part.strip() for part in value.split(",") if part.strip()]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.node_timeout_seconds <= self.heartbeat_interval_seconds:
            raise ValueError(
                f"node_timeout_seconds {self.node_timeout_seconds:g} must be over "
                f"heartbeat_interval_seconds {self.heartbeat_interval_seconds:g}"
            )
        try:
            check_name("mesh", self.mesh)
            check_name("node_type", self.node_type)
            if self.node_name:
                check_name("node_name", self.node_name)
            for text in self.capabilities:
                capability(text)
            labels_of(self.labels)
        except InvalidArgumentError as exc:
            raise ValueError(str(exc)) from exc
        return self


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree
