"""Names of settings that came before these, and names whose feature is not here yet.

One table per kind. An alias maps to a setting that works; a later name is refused with a clear word instead of being
ignored; a name in effect is accepted as long as its value is what the mesh does anyway.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

FILE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "network.host": "host",
        "network.port": "port",
        "network.bootstrap_nodes": "bootstrap_nodes",
        "network.connection_pool_size": "redis.connection_pool_size",
        "agents.auto_join_network": "auto_join_network",
        "agents.capabilities": "capabilities",
        "agents.specializations": "specializations",
        "agents.max_agents_per_task": "groups.max_size",
        "task_distribution.load_balancing_algorithm": "task_distribution.algorithm",
        "tasks.task_timeout": "task_timeout_seconds",
        "tasks.max_concurrent_tasks": "max_capacity",
        "tasks.task_queue_size": "tasks.queue_size",
        "discovery.heartbeat_interval": "heartbeat_interval_seconds",
        "discovery.stale_agent_timeout": "node_timeout_seconds",
        "performance.connection_pool_size": "redis.connection_pool_size",
        "performance.async_operation_timeout": "store_timeout_seconds",
        "resilience.max_retry_attempts": "task_distribution.max_task_retries",
        "resilience.retry_backoff": "task_distribution.retry_backoff_factor",
        "resilience.node_timeout": "node_timeout_seconds",
        "resilience.health_check_interval": "tasks.sweep_seconds",
        "sync_interval_seconds": "memory_sync.sync_interval_seconds",
        "memory_sync.conflict_resolution_strategy": "memory_sync.conflict_resolution",
    }
)
"""Older key in a settings file → the setting it is now."""

ENVIRONMENT_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "MERNSTA_NODE_TYPE": "node_type",
        "MERNSTA_MESH_PROTOCOL": "protocol",
        "REDIS_ADDR": "redis.host+redis.port",
        "REDIS_PASSWORD": "redis.password",
        "REDIS_DB": "redis.db",
        "LOG_LEVEL": "logging.level",
        "LOG_FORMAT": "logging.format",
        "INITIAL_EDGE_WEIGHT": "topology.initial_edge_weight",
        "REINFORCEMENT_AMOUNT": "topology.reinforcement_amount",
        "DECAY_RATE": "topology.decay_rate",
        "DECAY_INTERVAL": "topology.decay_interval_seconds",
        "PRUNE_THRESHOLD": "topology.prune_threshold",
        "QUORUM_THRESHOLD": "votes.quorum",
        "PROPOSAL_TIMEOUT": "votes.proposal_timeout_seconds",
        "WAGGLE_INTENSITY_MIN": "votes.waggle_intensity_min",
    }
)
"""Older environment variable → the setting it is now; two settings joined by `+` take `host:port`."""

LATER_KEYS = frozenset(
    {
        "grpc",
        "monitoring",
        "security",
        "node_configs",
        "atomspace",
        "network.atomspace_port",
        "network.auto_discover",
        "discovery.agent_discovery_interval",
        "tasks.coordination_strategy",
        "logging.distributed_operations",
        "logging.atomspace_sync",
        "logging.agent_discovery",
    }
)
"""Keys, and sections with all they hold, whose feature comes later."""

IN_EFFECT: Mapping[str, Any] = MappingProxyType(
    {
        "monitoring.enabled": False,
        "security.encryption_enabled": False,
        "security.node_authentication": False,
        "security.api_key_required": False,
        "security.enable_authentication": False,
        "security.message_encryption": False,
        "network.auto_discover": True,
        "logging.distributed_operations": False,
        "logging.atomspace_sync": False,
        "logging.agent_discovery": False,
        "atomspace.batch_sync_size": 1_000,
    }
)
"""Later keys that may be written as long as they ask for what happens anyway."""

NEEDLESS = frozenset({"network.message_buffer_size", "performance.message_buffer_size"})
"""Keys that may have any value: a message of any size up to `messages.max_bytes` arrives whole without a buffer."""


def is_later(key: str) -> bool:
    """Return whether `key`, or a section it lies in, belongs to a later feature."""
    parts = key.split(".")
    return any(".".join(parts[: depth + 1]) in LATER_KEYS for depth in range(len(parts)))


def is_in_effect(key: str, value: object) -> bool:
    """Return whether the mesh does what this later key asks for without it."""
    return key in NEEDLESS or (key in IN_EFFECT and value == IN_EFFECT[key])
