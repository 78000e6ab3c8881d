"""What syncing says of itself, and how it is told to go about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import msgspec

from meshd.memory.prefixes import Rules

WINDOW_S = 60
"""Over how many seconds speed and success are summed."""
SYNC_TOPIC = "memory:sync"
"""Hints that ask every replica to sync and report at once; `Mesh` services publish them with the id of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """How a process reaches the memory, and how a replica follows its hub."""

    rules: Rules = field(default_factory=Rules)
    """Which keys are read at the hub (`strong`), and which prefix is led by whom (`master_slave`)."""
    batch_delay: timedelta = timedelta(milliseconds=20)
    """How long a version under priority 8 waits for others to be sent with."""
    batch_size: int = 50
    """Most fresh versions sent at once; a backlog goes by `MAX_BATCH`."""
    interval: timedelta = timedelta(seconds=5)
    """How often the replica reports, and compares its clock with the hub's whatever it heard or missed.

    Twice as long while there is nothing to do.
    """
    digest_every: int = 12
    """Every so many intervals, digests are compared too; `sync` always does."""
    gossip_interval: timedelta = timedelta(seconds=1)
    """How often replicas look for news at a few others while there is no hub to tell them."""
    max_drift: timedelta = timedelta(seconds=60)
    """What other nodes bring from further in the future is refused, as the hub would."""
    priority_threshold: int = 1
    """Versions of a lower priority stay on this node."""
    read_timeout: timedelta = timedelta(seconds=2)
    """How long a read waits for what its session has seen."""
    cache_items: int = 50_000
    """Most items kept in memory beside the file."""
    max_waiting: int = 10_000
    """Drafts that may wait for the local commit; more are refused with back-pressure."""
    mastery_ttl: timedelta = timedelta(seconds=15)
    lease_ttl: timedelta = timedelta(seconds=60)
    """Of the actor leased for writes that the hub takes first."""

    @property
    def live_ms(self) -> int:
        """Silence after which a replica's confirmation is not waited for."""
        return max(15_000, round(self.interval.total_seconds() * 3_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """How far one replica is, as it reports it to the hub with `Member.state`."""

    pending: int = 0
    """Own versions the hub has not taken yet."""
    sent: int = 0
    """Versions sent since the process began."""
    received: int = 0
    """Versions received that changed something here."""
    conflicts: int = 0
    """Versions, sent or received, that stand beside others."""
    refused: int = 0
    """Versions the hub refuses and that are held here."""
    damaged: int = 0
    """Versions received whose checksum was wrong, so not taken."""
    bytes_sent: int = 0
    bytes_received: int = 0
    last_sent: int = 0
    """Versions sent by the last whole comparison, and so on."""
    last_received: int = 0
    last_conflicts: int = 0
    last_bytes: int = 0
    synced_ms: int = 0
    """When the whole of both was last compared."""
    duration_ms: int = 0
    """How long that took."""
    is_equal: bool = False
    """Whether clocks and digests were equal then."""
    is_closed: bool = False
    """It was closed in order; its file has what it knew."""
    unrepaired: int = 0
    """Keys that differ whatever was done, as the hub refuses a version of theirs; their next write settles them."""
    differing: str = ""
    """The first of the keys that differ whatever was done, one a line."""
    recent_items: int = 0
    """Versions moved either way in the last minute before the report."""
    recent_tries: int = 0
    """How often something was sent or compared in that time."""
    recent_failures: int = 0
    """How often that failed: the hub was away, or refused it."""
    request: str = ""
    """The newest request to sync that this answers."""

    def as_mapping(self) -> dict[str, int | str]:
        """Return it as `Member.state` has it: what is zero or empty is left out."""
        values = {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}
        return {name: value for name, value in values.items() if value}

    @classmethod
    def of(cls, state: Mapping[str, int | str]) -> "SyncState":
        """Return what a member reported; what is missing or unknown is left at its default."""
        return msgspec.convert(dict(state), cls, strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSync:
    """What one live replica did for a request to sync."""

    node: str
    confirmed: bool
    """It said in time that it synced after the request was made."""
    sent: int = 0
    received: int = 0
    conflicts: int = 0
    bytes: int = 0
    duration_ms: int = 0
    pending: int = 0
    refused: int = 0
    revision: int = 0
    """Up to which it had every change of the hub when it was asked last."""
    is_equal: bool = False
    """Its digest and clock equal the hub's."""
    differing: tuple[str, ...] = ()
    """Some of the keys that differ all the same."""


class SyncStage(StrEnum):
    """How far a sync of the whole mesh is."""

    PENDING = "pending"
    """No replica has answered yet."""
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    PARTIAL_SUCCESS = "partial_success"
    """It is over, and some did not confirm: see `SyncReport.missing`."""
    FAILED = "failed"
    """It is over, and none confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """A sync of the whole mesh."""

    request: str
    nodes: tuple[NodeSync, ...] = field(default_factory=tuple)
    duration_ms: int = 0
    is_over: bool = True
    """Nothing more is waited for."""

    @property
    def stage(self) -> SyncStage:
        """How far it is."""
        missing = len(self.missing)
        if self.is_over:
            if not missing:
                return SyncStage.COMPLETED
            return SyncStage.FAILED if missing == len(self.nodes) else SyncStage.PARTIAL_SUCCESS
        return SyncStage.PENDING if not any(each.confirmed for each in self.nodes) else SyncStage.IN_PROGRESS

    @property
    def missing(self) -> tuple[str, ...]:
        """Live nodes that did not confirm, or whose memory is not the hub's."""
        return tuple(each.node for each in self.nodes if not (each.confirmed and each.is_equal))


def _plain(value: int | str) -> int | str:
    return value if isinstance(value, str) else int(value)
