"""Settings of the shared memory: how writes become known, what conflicts mean, how much is kept."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from meshd.errors import InvalidArgumentError
from meshd.memory.model import MemoryLimits, Policy, Strategy
from meshd.memory.names import policy_named, strategy_named
from meshd.memory.prefixes import SOURCES, Rule, Rules, check_key
from meshd.memory.syncing import SyncOptions

Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
_SECTION = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PrefixSettings(BaseModel):
    """How the values under one prefix differ from the others; what is left out is as for all."""

    model_config = _SECTION

    strategy: str = ""
    conflict: str = ""
    ttl_seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long a value lasts that is written without a lifetime of its own; 0: for ever."""

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, value: str) -> str:
        return _checked(strategy_named, value) if value else value

    @field_validator("conflict")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return _checked(policy_named, value) if value else value


class MemorySyncSettings(BaseModel):
    """The shared memory, and how nodes keep it in step."""

    model_config = _SECTION

    enabled: bool = True
    """Off: nodes keep no replica; commands and clients still reach the memory at the store."""
    strategy: str = Strategy.EVENTUAL.value
    """How writes become known: eventual, strong, master_slave, peer_to_peer."""
    conflict_resolution: str = Policy.LATEST_WINS.value
    """What a value is after two writes that did not know of each other."""
    compression_enabled: bool = True
    """Compress values and batches of 1 KB and more."""
    max_sync_batch_size: Annotated[int, Field(ge=1, le=100)] = 50
    """Most versions sent at once."""
    batch_delay_seconds: Annotated[float, Field(ge=0, le=60)] = 0.02
    """How long a version of a priority under 8 waits for others to be sent with."""
    sync_interval_seconds: Seconds = 5.0
    """How often a node compares itself with the store, whatever it heard or missed."""
    sync_priority_threshold: Annotated[int, Field(ge=1, le=10)] = 5
    """Versions of a lower priority stay on the node that wrote them."""
    source_priority: tuple[str, ...] = SOURCES
    """Node types, or words of them, the most trusted first: who wins under conflict policy source_priority."""
    prefixes: dict[str, PrefixSettings] = {}
    """Other rules for keys that start so; the longest prefix decides."""
    secret: SecretStr = SecretStr("")
    """Keys the checksums: a writer without it is refused. The same on every node."""
    max_item_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 1_048_576
    max_items: Annotated[int, Field(ge=1)] = 10_000_000
    max_bytes: Annotated[int, Field(ge=65_536)] = 8_589_934_592
    max_drift_seconds: Seconds = 60.0
    """A version from further in the future is refused: a clock that is wrong must not win for ever."""
    history: Annotated[int, Field(ge=0, le=1_000)] = 10
    """Versions kept of each key beside the current ones."""
    history_seconds: Seconds = 604_800.0
    evict_after_seconds: Seconds = 604_800.0
    """A replica silent for so long holds up no collection, and compares everything when it returns."""

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, value: str) -> str:
        return _checked(strategy_named, value)

    @field_validator("conflict_resolution")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return _checked(policy_named, value)

    @model_validator(mode="after")
    def _prefixes_can_be_keys(self) -> Self:
        for prefix in self.prefixes:
            _checked(check_key, prefix)
        return self

    def limits(self) -> MemoryLimits:
        """Return what the store takes."""
        return MemoryLimits(
            max_item_bytes=self.max_item_bytes,
            max_items=self.max_items,
            max_bytes=self.max_bytes,
            max_drift_ms=round(self.max_drift_seconds * 1000),
            history=self.history,
            history_ttl_ms=round(self.history_seconds * 1000),
            evict_after_ms=round(self.evict_after_seconds * 1000),
        )

    def sync_options(self) -> SyncOptions:
        """Return how a replica follows its hub."""
        return SyncOptions(
            rules=self.rules(),
            batch_delay=timedelta(seconds=self.batch_delay_seconds),
            batch_size=self.max_sync_batch_size,
            interval=timedelta(seconds=self.sync_interval_seconds),
            max_drift=timedelta(seconds=self.max_drift_seconds),
            priority_threshold=self.sync_priority_threshold,
        )

    def rules(self) -> Rules:
        """Return how each part of the key space is written."""
        default = Rule(strategy=Strategy(self.strategy), policy=self.conflict_resolution)
        return Rules(
            default=default,
            prefixes={
                prefix: Rule(
                    prefix=prefix,
                    strategy=Strategy(own.strategy or default.strategy),
                    policy=own.conflict or default.policy,
                    ttl_ms=round(own.ttl_seconds * 1000),
                )
                for prefix, own in self.prefixes.items()
            },
        )


def _checked(check: Callable[[str], str], value: str) -> str:
    try:
        return str(check(value))
    except InvalidArgumentError as exc:
        raise ValueError(str(exc)) from exc
