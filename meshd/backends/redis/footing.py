"""What a server says of itself: whether it takes writes, what it keeps on disk, who follows it, what it throws away."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis.exceptions as broken

from meshd.backends.redis.lane import Lane
from meshd.tasks.model import Durability

_QUESTIONS: Sequence[tuple[str, ...]] = (("INFO",), ("CONFIG", "GET", "appendfsync"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What one server said of itself."""

    version: str
    run_id: str
    """Name of this run of the server process."""
    primary: str
    """Whom it copies; empty: it is a primary."""
    replicas: int
    """Replicas that follow it now."""
    is_loading: bool
    appends: bool
    """It writes an append-only file."""
    fsync: str
    """When that file reaches the disk: always, everysec or no; empty where the server does not tell."""
    evicts: str
    """The policy by which it would throw keys away; empty: it never does."""
    maxmemory: int
    """Where it would begin to; 0: nowhere."""
    is_clustered: bool
    """It is part of a cluster, and has some of the keys only."""

    @property
    def level(self) -> Durability:
        """The level of a plain write; a server that does not tell when it syncs does so every second, by default."""
        if not self.appends or self.fsync == "no":
            return Durability.D0
        return Durability.D2 if self.fsync == "always" else Durability.D1


async def ask(lane: Lane) -> Footing:
    """Return what the server at the other end says of itself."""
    return footing_of(*await asyncio.gather(*questions(lane), return_exceptions=True))


def questions(lane: Lane) -> "Sequence[asyncio.Future[Any]]":
    """Send what `footing_of` wants answered, in its order."""
    return [lane.call(question) for question in _QUESTIONS]


def footing_of(info: Any, fsync: Any) -> Footing:
    """Return what the answers to `questions` say.

    Raises:
        redis.exceptions.RedisError: the server said nothing of itself.
    """
    if isinstance(info, Exception):
        raise info
    said = _fields(info)
    policy = said.get("maxmemory_policy", "noeviction")
    return Footing(
        version=said.get("redis_version", "0"),
        run_id=said.get("run_id", ""),
        primary="" if said.get("role") == "master" else f"{said.get('master_host')}:{said.get('master_port')}",
        replicas=sum(value.find("state=online") >= 0 for name, value in said.items() if _is_replica_line(name)),
        is_loading=said.get("loading", "0") != "0",
        appends=said.get("aof_enabled", "0") != "0",
        fsync="" if isinstance(fsync, Exception) or len(fsync) < 2 else fsync[1].decode(),
        evicts="" if policy == "noeviction" else policy,
        maxmemory=int(said.get("maxmemory", "0")),
        is_clustered=said.get("cluster_enabled", "0") != "0",
    )


def refuse_unready(footing: Footing) -> None:
    """Let a connection be used only if its server takes writes.

    Raises:
        redis.exceptions.RedisError: it is a replica, or still reads its data from disk.
    """
    if footing.primary:
        raise broken.ReadOnlyError(f"it is a replica of {footing.primary}")
    if footing.is_loading:
        raise broken.BusyLoadingError("it is reading its data from disk")


def _is_replica_line(name: str) -> bool:
    return name.startswith("slave") and name[5:].isdigit()


def _fields(info: bytes) -> Mapping[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
