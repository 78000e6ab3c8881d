"""Reading and writing items by the rules of their prefixes: what every part of the memory service stands on.

Writes of one key by this process happen one after the other, from the look at what is there to the commit: an actor's
own earlier versions count as seen, so none may slip in between.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any
from weakref import WeakValueDictionary

from meshd.codec import unpack
from meshd.errors import InvalidArgumentError, WriteConflictError
from meshd.memory.access import Access, Acks, Author, Draft, Session, Written
from meshd.memory.entries import Saved, name_of
from meshd.memory.merging import Body
from meshd.memory.model import MAX_BATCH, PRIORITIES, Dot, Item, Kind, Strategy
from meshd.memory.names import policy_named, strategy_named
from meshd.memory.policies import Custom, Resolved, resolve
from meshd.memory.prefixes import Rule, Rules, check_key

SCAN_PAGE = 500
QUORUM = 0.51
ACKS: Mapping[str, Acks | None] = {"hub": None, "quorum": Acks(replicas=QUORUM), "all": Acks(replicas=1.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a write is made; `None` leaves a choice to the rule of the key's prefix."""

    ttl: timedelta | None = None
    priority: int = 5
    note: str = ""
    strategy: Strategy | str | None = None
    policy: str | None = None
    acks: Acks | str | None = None
    undoes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """One write, made from what its writer saw."""

    body: Body | None
    """`None` deletes."""
    over: Item
    kind: Kind = Kind.VALUE
    expects: tuple[Dot, ...] | None = None
    """The live siblings there must be."""


Make = Callable[[Item, Resolved], Making]

HOW = How()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all views of one memory share in this process."""

    access: Access
    rules: Rules = field(default_factory=Rules)
    customs: dict[str, Custom] = field(default_factory=dict[str, Custom])
    task_now: Callable[[], str] = str
    """Returns the id of the task on whose behalf the caller writes, empty where there is none."""
    silent_ms: Callable[[], int] = int
    """Returns for how long the store has not answered this process, 0 while it does."""
    is_compressing: bool = True
    """Values of 1 KB and more are stored compressed; all nodes read them either way."""
    rng: Random = field(default_factory=Random)
    locks: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary[str, asyncio.Lock])


class MemoryCore:
    """Items, read and written on behalf of one author."""

    def __init__(self, shared: Shared, *, author: Author) -> None:
        self._shared = shared
        self._access = shared.access
        self._author = author

    def _resolve(self, item: Item, now_ms: int) -> Resolved:
        return resolve(item, now_ms=now_ms, customs=self._shared.customs)

    async def now_ms(self) -> int:
        """Return the time lifetimes are judged by, as near to the store's clock as is known."""
        return await self._access.now_ms()

    async def look(self, key: str, *, session: Session | None = None) -> tuple[Item, Resolved]:
        """Return a key's versions, and what they mean now."""
        (item,) = await self._access.read([check_key(key)], session=session)
        return item, self._resolve(item, await self._access.now_ms())

    async def change(self, key: str, make: Make, how: How = HOW) -> Saved[Any] | None:
        """Write one key; return it as written, `None` for a deletion."""
        (saved,) = await self._write_each({key: make}, {key: how})
        return saved

    async def _write_each(self, makes: Mapping[str, Make], hows: Mapping[str, How]) -> "list[Saved[Any] | None]":
        """Write several keys, as `_write_all` does; return each as written."""
        written = await self._write_all(makes, hows)
        now_ms = await self._access.now_ms()
        return [self._saved(each, now_ms) for each in written]

    async def _write_all(self, makes: Mapping[str, Make], hows: Mapping[str, How]) -> list[Written]:
        """Write several keys, atomic per key and in order, in as few calls as their strategies allow."""
        keys = list(makes)
        async with AsyncExitStack() as stack:
            for key in sorted(keys):
                await stack.enter_async_context(self._lock(check_key(key)))
            items = await self._access.read(keys)
            now_ms = await self._access.now_ms()
            made = [makes[key](item, self._resolve(item, now_ms)) for key, item in zip(keys, items, strict=True)]
            return await self._commit(list(zip(keys, items, made, strict=True)), hows, now_ms=now_ms)

    async def _commit(
        self, made: Sequence[tuple[str, Item, Making]], hows: Mapping[str, How], *, now_ms: int
    ) -> list[Written]:
        done: list[Written] = []
        groups: list[tuple[Strategy, Acks | None, list[Draft]]] = []
        for key, item, making in made:
            how = hows[key]
            strategy = strategy_of(self._shared.rules.of(key), how, is_conditional=making.expects is not None)
            allowed = self._allowed(key, item, making, strategy, now_ms)
            draft = self._draft(key, allowed, how, now_ms=now_ms)
            acks = acks_of(how)
            if groups and groups[-1][:2] == (strategy, acks) and len(groups[-1][2]) < MAX_BATCH:
                groups[-1][2].append(draft)
            else:
                groups.append((strategy, acks, [draft]))
        for strategy, acks, drafts in groups:
            done += await self._access.write(drafts, strategy=strategy, acks=acks)
        return done

    def _allowed(self, key: str, item: Item, making: Making, strategy: Strategy, now_ms: int) -> Making:
        """Return the write as the store is to judge it; where no store judges, its condition is judged here.

        Raises:
            WriteConflictError: the condition does not hold.
        """
        if making.expects is None or strategy in (Strategy.STRONG, Strategy.MASTER_SLAVE):
            return making
        found = self._resolve(item, now_ms).dots
        if found != making.expects:
            expected, current = (tuple(map(name_of, dots)) for dots in (making.expects, found))
            raise WriteConflictError(key, expected=expected, current=current)
        return replace(making, expects=None)

    def _draft(self, key: str, making: Making, how: How, *, now_ms: int) -> Draft:
        rule = self._shared.rules.of(key)
        return Draft(
            key=key,
            body=making.body if making.body is None or self._shared.is_compressing else _plain(making.body),
            over=making.over,
            expects=making.expects,
            policy=rule.policy if how.policy is None else policy_named(how.policy),
            kind=making.kind,
            priority=_checked_priority(how.priority),
            expires_ms=0 if making.body is None else _expiry(how.ttl, rule, now_ms=now_ms),
            note=how.note,
            undoes=how.undoes,
            author=self._author if self._author.task else replace(self._author, task=self._shared.task_now()),
        )

    def _saved(self, written: Written, now_ms: int) -> Saved[Any] | None:
        version = written.version
        if version.header.is_tombstone:
            return None
        resolved = self._resolve((version,), now_ms)
        return Saved(
            key=version.key,
            value=resolved.value,
            item=(version,),
            dots=(version.dot,),
            decisive=version,
            is_sent=written.is_sent,
            confirmed=written.confirmed,
            became=written.reply.applied,
        )

    async def _scan(
        self, prefix: str, *, after: str = "", page_size: int = SCAN_PAGE
    ) -> AsyncIterator[tuple[str, Item]]:
        """Yield every item under a prefix, by key, also those that are gone."""
        async for page in self._pages(prefix, after=after, page_size=page_size):
            for found in page:
                yield found

    async def _pages(
        self, prefix: str, *, after: str = "", page_size: int = SCAN_PAGE
    ) -> AsyncIterator[Sequence[tuple[str, Item]]]:
        """Yield the same, so many at once."""
        while page := await self._access.list(prefix, limit=page_size, after=after):
            yield page
            after = page[-1][0]

    def _lock(self, key: str) -> asyncio.Lock:
        lock = self._shared.locks.get(key)
        if lock is None:
            lock = self._shared.locks[key] = asyncio.Lock()
        return lock


def _plain(body: Body) -> Body:
    return lambda header: unpack(body(header))


def strategy_of(rule: Rule, how: How, *, is_conditional: bool) -> Strategy:
    """Return how a write becomes known: what its caller said, else the rule's.

    A condition, and confirmations asked for, are for the store to judge, so they are `strong` where the rule is not.
    """
    if how.strategy is not None:
        return strategy_named(how.strategy)
    if rule.strategy is Strategy.EVENTUAL and (is_conditional or how.acks is not None):
        return Strategy.STRONG
    return rule.strategy


def acks_of(how: How) -> Acks | None:
    """Return who must have a write before it is answered.

    Raises:
        InvalidArgumentError: it is a word other than hub, quorum and all.
    """
    if not isinstance(how.acks, str):
        return how.acks
    if how.acks not in ACKS:
        raise InvalidArgumentError(f"acks {how.acks!r} is not one of {', '.join(ACKS)}")
    return ACKS[how.acks]


def _expiry(ttl: timedelta | None, rule: Rule, *, now_ms: int) -> int:
    ttl_ms = rule.ttl_ms if ttl is None else ttl // timedelta(milliseconds=1)
    if ttl_ms < 0 or (ttl is not None and ttl_ms == 0):
        raise InvalidArgumentError(f"ttl {ttl} must be over 0")
    return now_ms + ttl_ms if ttl_ms else 0


def _checked_priority(priority: int) -> int:
    if priority not in PRIORITIES:
        raise InvalidArgumentError(f"memory priority {priority} is not between 1 and 10")
    return priority
