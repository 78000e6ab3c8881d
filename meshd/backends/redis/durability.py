"""What an acknowledged write survives on this server, and what is wrong with how the server is set up.

Invariant: a level is given out only for what the server said of itself: when it was connected, and again at least
every `watch.REFRESH_S` as long as anything is asked of it.
"""

from collections.abc import Sequence
from typing import Protocol

from meshd.backends.port import BackendOptions
from meshd.backends.redis.footing import Footing
from meshd.errors import ConfigurationError, StoreReadOnlyError
from meshd.tasks.model import Durability

ACKNOWLEDGING = frozenset(
    {
        "task_submit", "task_finish", "task_cancel", "task_redrive", "task_reprioritize", "task_purge", "task_pause",
        "record_write", "record_delete", "event_append", "memory_push", "memory_absorb", "memory_quarantine",
    }
)  # fmt: skip
"""Scripts whose answer a caller relies on. A claim, a start or a beat that a failover takes back is only made again."""


class Grounds(Protocol):
    """Connections to the servers of one store."""

    @property
    def options(self) -> BackendOptions: ...
    @property
    def url(self) -> str: ...
    async def footings(self, *, fresh: bool = False) -> Sequence[Footing]:
        """Return what each primary said of itself, asked anew if `fresh`."""
        ...


class DurabilityProbe:
    """Knows the durability level of one store."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds

    async def level(self) -> Durability:
        """Return the level that writes which ask for none reach at the moment."""
        options, footings = self._grounds.options, await self._grounds.footings()
        if options.durability is Durability.D3 and not unreachable(Durability.D3, footings, replicas=options.replicas):
            return Durability.D3
        return _least(footings)

    async def reach(self, asked: Durability | None) -> Durability:
        """Return the level a write gets that asks for this one at least.

        Raises:
            ConfigurationError: the store cannot give it.
        """
        options = self._grounds.options
        footings = await self._grounds.footings()
        if asked is None and options.durability is None:
            return _least(footings)
        needed = max(asked or Durability.D0, options.durability or Durability.D0)
        # Once confirmation is what the store was opened for, a replica that is away is an outage, not a setting.
        replicas = 0 if options.durability is Durability.D3 else options.replicas
        if unreachable(needed, footings, replicas=replicas):
            footings = await self._grounds.footings(fresh=True)
            if reason := unreachable(needed, footings, replicas=replicas):
                raise ConfigurationError(f"redis at {self._grounds.url}: {reason}")
        return needed if needed is Durability.D3 else _least(footings)

    async def alarms(self) -> tuple[str, ...]:
        """Ask the servers anew, and return what is wrong with how they are set up, each with its fix."""
        found = [alarms(footing, self._grounds.options) for footing in await self._grounds.footings(fresh=True)]
        return tuple(dict.fromkeys(alarm for each in found for alarm in each))


def check(footing: Footing, options: BackendOptions, *, url: str) -> None:
    """Accept a server to work on.

    Raises:
        StoreReadOnlyError: it is a replica.
        ConfigurationError: it may throw tasks away, or cannot give the durability asked for.
    """
    if footing.primary:
        raise StoreReadOnlyError(
            f"redis at {url} is a replica of {footing.primary}: name its primary, or the sentinels that know it "
            "(redis+sentinel://host:26379/service)"
        )
    if footing.evicts and footing.maxmemory and not options.accept_eviction:
        raise ConfigurationError(f"redis at {url}: {_eviction(footing)}, or set redis.accept_eviction")
    reason = unreachable(options.durability, [footing], replicas=options.replicas)
    if reason:
        raise ConfigurationError(f"redis at {url}: {reason}, or lower durability")


def unreachable(level: Durability | None, footings: Sequence[Footing], *, replicas: int) -> str:
    """Return why the servers cannot give a level, with the fix; empty when they can."""
    given = _least(footings)
    needed = Durability.D1 if level is Durability.D3 else level
    if needed is not None and given < needed:
        told = " (which it does not tell: allow CONFIG GET)" if any(not footing.fsync for footing in footings) else ""
        fix = "appendonly yes and appendfsync always" if needed is Durability.D2 else "appendonly yes"
        return f"durability {level} is asked for and it gives {given}{told}: set {fix}"
    fewest = min((footing.replicas for footing in footings), default=0)
    if level is Durability.D3 and fewest < replicas:
        return f"durability D3 is asked for with {replicas} replicas and {fewest} follow it: connect more"
    return ""


def alarms(footing: Footing, options: BackendOptions) -> tuple[str, ...]:
    """Return what is wrong with how a server is set up, each with its fix."""
    found: list[str] = []
    if footing.evicts:
        found.append(_eviction(footing))
    reason = unreachable(options.durability, [footing], replicas=options.replicas)
    if reason:
        found.append(reason)
    if footing.appends and footing.fsync == "no":
        found.append("it leaves the append-only file to the system: set appendfsync everysec")
    if footing.appends and not footing.fsync:
        found.append("it does not tell appendfsync, taken for everysec: allow CONFIG GET")
    return tuple(found)


def _least(footings: Sequence[Footing]) -> Durability:
    if len(footings) == 1:
        return footings[0].level
    return min((footing.level for footing in footings), default=Durability.D0)


def _eviction(footing: Footing) -> str:
    when = f"over {footing.maxmemory} bytes" if footing.maxmemory else "once maxmemory is set"
    return f"it may evict tasks {when}: set maxmemory-policy noeviction, it is {footing.evicts}"
