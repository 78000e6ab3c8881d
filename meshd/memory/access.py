"""How the memory service reaches items: through a replica on this node, or straight at the hub. One behaviour.

A `Draft` is a write before it has a dot. Whoever gives it one also stamps its time, so that a version observes what its
writer had seen and is later than all of it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from meshd.memory.model import Dot, Header, Item, Kind, Member, Policy, Reply, Strategy, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """On whose behalf versions are written."""

    node: str = ""
    agent: str = ""
    task: str = ""
    rank: int = 0
    """Under `source_priority`; from the order of node types in the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One write to be made."""

    key: str
    body: Callable[[Header], bytes] | None
    """Makes the stored value once the version has its dot and time, which a merging value stamps its parts with;
    `None` deletes."""
    over: Item
    """The siblings its writer saw: it observes these and what they observed."""
    expects: tuple[Dot, ...] | None = None
    """With `strong` and `master_slave`: written only while these are exactly the live siblings."""
    policy: str = Policy.LATEST_WINS
    kind: Kind = Kind.VALUE
    priority: int = 5
    expires_ms: int = 0
    note: str = ""
    undoes: str = ""
    author: Author = field(default_factory=Author)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one draft."""

    version: Version
    reply: Reply
    is_sent: bool
    """The hub has it; false while it waits in the outbox."""
    confirmed: int = 0
    """Replicas known to have it, where that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acks:
    """Who must have a write before it is answered."""

    replicas: float = 0.0
    """Share of the live replicas: 0 the hub alone, above a half a quorum, 1 all."""
    timeout: timedelta = timedelta(seconds=5)


Session = Mapping[str, int]
"""A session token: the node clock its holder has read or written. Whoever passes it on sees no older state."""


class Access(Protocol):
    """Items of one mesh, as this process reaches them."""

    async def read(self, keys: Sequence[str], *, session: Session | None = None) -> Sequence[Item]:
        """Return the items of these keys, with everything this access wrote, and never older than it returned before.

        With `session` also not older than that: it waits, looks at the hub, and gives up after the store's timeout.

        Raises:
            StaleReadError: what the session has seen did not arrive in time.
            StoreUnreachableError: without a replica, or for a prefix that is read at the hub.
        """
        ...

    async def list(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        """Return items whose key starts with `prefix` and sorts after `after`, in key order."""
        ...

    async def write(
        self, drafts: Sequence[Draft], *, strategy: Strategy, acks: Acks | None = None
    ) -> Sequence[Written]:
        """Write; atomic per draft, in order. Under `eventual` durable here and sent soon; otherwise taken by the hub.

        Raises:
            WriteConflictError: an `expects` does not hold; it has the current item.
            NotMasterError: another node is the master of the prefix.
            MemoryRefusedError: outside a limit, or this node is in quarantine.
            StoreUnreachableError: the strategy needs the hub and it is away; nothing was written.
            UnconfirmedError: written, but too few replicas said so in time.
        """
        ...

    def changes(self, prefix: str) -> AsyncIterator[tuple[str, Item]]:
        """Yield each item under `prefix` after it changed, newest state only; the current ones are not replayed."""
        ...

    async def history(self, keys: Sequence[str], *, limit: int) -> Sequence[Sequence[Version]]:
        """Return for each key up to `limit` superseded versions still kept, newest first."""
        ...

    async def contested(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        """Return items with several live siblings."""
        ...

    async def session(self) -> Session:
        """Return the token for what was read and written here so far."""
        ...

    async def members(self) -> Sequence[Member]:
        """Return the replicas of the mesh and how far each is."""
        ...

    async def quarantine(self, node: str, *, reason: str) -> None:
        """Have the hub refuse a node's versions."""
        ...

    async def readmit(self, node: str) -> bool:
        """Have the hub take a node's versions again; return whether it was quarantined."""
        ...

    async def now_ms(self) -> int:
        """Return the time versions are stamped with, as near to the hub's clock as is known."""
        ...
