"""Names of strategies and policies: ours, and those other systems gave them. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from meshd.errors import InvalidArgumentError
from meshd.memory.model import Policy, Strategy
from meshd.memory.policies import CUSTOM_MARK

STRATEGY_ALIASES: Mapping[str, Strategy] = MappingProxyType(
    {
        "eventual_consistency": Strategy.EVENTUAL,
        "strong_consistency": Strategy.STRONG,
        "immediate": Strategy.STRONG,
        "primary_replica": Strategy.MASTER_SLAVE,
        "leader_follower": Strategy.MASTER_SLAVE,
        "gossip": Strategy.PEER_TO_PEER,
        "p2p": Strategy.PEER_TO_PEER,
        "full_mesh": Strategy.EVENTUAL,
    }
)

POLICY_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "last_write_wins": Policy.LATEST_WINS,
        "lww": Policy.LATEST_WINS,
        "latest": Policy.LATEST_WINS,
        "merge": Policy.MERGE_COMPATIBLE,
        "source": Policy.SOURCE_PRIORITY,
        "version_vectors": Policy.VERSION_VECTOR,
        "siblings": Policy.VERSION_VECTOR,
        "manual_resolution": Policy.MANUAL,
        "human": Policy.MANUAL,
    }
)


def strategy_named(name: str) -> Strategy:
    """Return the strategy of this name, ours or an older one.

    Raises:
        InvalidArgumentError: there is none.
    """
    plain = _plain(name)
    if plain in STRATEGY_ALIASES:
        return STRATEGY_ALIASES[plain]
    if plain in set(Strategy):
        return Strategy(plain)
    raise InvalidArgumentError(f"memory strategy {name!r} is not one of {', '.join(Strategy)}")


def policy_named(name: str) -> str:
    """Return the policy of this name, ours or an older one; `custom:<package.module:function>` is kept as it is.

    Raises:
        InvalidArgumentError: there is none.
    """
    if name.startswith(CUSTOM_MARK) and len(name) > len(CUSTOM_MARK):
        return name
    plain = _plain(name)
    if plain in POLICY_ALIASES:
        return POLICY_ALIASES[plain]
    if plain in set(Policy) - {Policy.CUSTOM}:
        return Policy(plain)
    known = ", ".join([*(policy for policy in Policy if policy is not Policy.CUSTOM), f"{CUSTOM_MARK}module:function"])
    raise InvalidArgumentError(f"conflict policy {name!r} is not one of {known}")


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")
