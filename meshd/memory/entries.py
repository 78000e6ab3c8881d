"""What a read returns: the value of a key with all it stands on, and single versions, decoded. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from meshd.errors import InvalidArgumentError
from meshd.memory.merging import value_of
from meshd.memory.model import Applied, Dot, Item, Version
from meshd.memory.policies import Resolved

T = TypeVar("T")
Read = Callable[[Any], T]
"""Turns plain JSON types into what the caller asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """One version, decoded: what was written, by whom, when and why."""

    name: str
    """`actor:number`, by which other commands know it."""
    edition: int
    """Rises by one with each write over the one before."""
    key: str
    value: Any
    """Plain JSON types; `None` for a deletion."""
    is_deletion: bool
    at_ms: int
    node: str
    agent: str
    task: str
    note: str
    undoes: str
    """The version it takes back, if it is part of a rollback."""
    priority: int
    policy: str
    kind: str
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[T]):
    """A key as it was read."""

    key: str
    value: T
    item: Item = field(repr=False, compare=False)
    """The versions it was read from: pass the entry as `over` to write only if they are still the ones."""
    decisive: Version = field(repr=False, compare=False)
    """The version whose write shows; with merged values the latest of them."""
    dots: tuple[Dot, ...] = field(repr=False, compare=False)
    """The live ones of them: what a conditional write expects."""
    is_conflict: bool = False
    """The siblings say different things, and the reader has to choose; the value is the latest."""
    needs_person: bool = False
    """The conflict waits for a human: see `conflicts` and `resolve`."""
    silent_ms: int = field(default=0, compare=False)
    """How long the store had not answered this node when it was read, 0 while it did: others may have written since."""

    @property
    def is_stale(self) -> bool:
        """Whether it was read on a node that is cut from the store."""
        return self.silent_ms > 0

    @property
    def versions(self) -> tuple[str, ...]:
        """Names of the versions it was read from."""
        return tuple(name_of(version.dot) for version in self.item)

    @property
    def siblings(self) -> tuple[Writing, ...]:
        """Every version it was read from, the latest first; one, unless writers did not know of each other."""
        return tuple(writing(version) for version in latest_first(self.item))

    @property
    def winner(self) -> Writing:
        """The version that decides; with merged values the latest of them."""
        return writing(self.decisive)

    @property
    def agent(self) -> str:
        return self.decisive.header.agent

    @property
    def node(self) -> str:
        return self.decisive.header.node

    @property
    def at_ms(self) -> int:
        """When it was written, in Unix milliseconds."""
        return self.decisive.header.ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Entry[T]):
    """A key as it was written."""

    is_sent: bool
    """The store has it; false while it waits on this node."""
    confirmed: int = 0
    """Replicas known to have it, where that was asked for."""
    became: Applied = Applied.APPLIED
    """`sibling`: somebody wrote the key without knowing of this, nor this of that."""


def name_of(dot: Dot) -> str:
    """Return a version's name."""
    return f"{dot.actor}:{dot.seq}"


def dot_of(name: str) -> Dot:
    """Return the dot a version's name stands for.

    Raises:
        InvalidArgumentError: it is no such name.
    """
    actor, _, seq = name.rpartition(":")
    if not actor or not seq.isdigit():
        raise InvalidArgumentError(f"{name!r} names no version: write ACTOR:NUMBER, as `mesh memory log` shows it")
    return Dot(actor, int(seq))


def writing(version: Version) -> Writing:
    """Return a version decoded.

    Raises:
        CorruptDataError: its body is damaged.
    """
    header = version.header
    return Writing(
        name=name_of(version.dot),
        edition=header.edition,
        key=header.key,
        value=None if header.is_tombstone else value_of(version),
        is_deletion=header.is_tombstone,
        at_ms=header.ms,
        node=header.node,
        agent=header.agent,
        task=header.task,
        note=header.note,
        undoes=header.undoes,
        priority=header.priority,
        policy=header.policy,
        kind=header.kind,
        expires_ms=header.expires_ms,
    )


def entry_of(item: Item, resolved: Resolved, read: Read[T]) -> Entry[T] | None:
    """Return the item as a caller sees it; `None` when nothing in it is live."""
    if resolved.winner is None:
        return None
    return Entry(
        key=resolved.winner.key,
        value=read(resolved.value),
        item=item,
        decisive=resolved.winner,
        dots=resolved.dots,
        is_conflict=resolved.is_conflict,
        needs_person=resolved.needs_person,
    )


def latest_first(versions: Sequence[Version]) -> list[Version]:
    """Return versions by their time, which agrees with causality."""
    return sorted(versions, key=lambda version: version.header.time, reverse=True)
