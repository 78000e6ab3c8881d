"""The memory service: what everyone knows, as callers read and write it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from meshd.errors import AlreadyExistsError, InvalidPayloadError, WriteConflictError
from meshd.memory.access import Access, Acks, Author, Session
from meshd.memory.conflicts import MemoryConflicts
from meshd.memory.core import SCAN_PAGE, How, Make, Making, Shared
from meshd.memory.counting import Counter
from meshd.memory.customs import customs_of
from meshd.memory.entries import Entry, Saved, entry_of
from meshd.memory.history import At
from meshd.memory.leases import KeyLease
from meshd.memory.making import body_of
from meshd.memory.model import MAX_BATCH, Item, Member, Policy, Strategy
from meshd.memory.names import policy_named
from meshd.memory.policies import Resolved
from meshd.memory.prefixes import Rules
from meshd.memory.sets import SharedSet
from meshd.memory.undo import MemoryUndo
from meshd.memory.watching import Callback, Change, Subscription
from meshd.pauses import jittered

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T")
M = TypeVar("M", bound="BaseModel")

MOST_TRIES = 200
"""Of a read-modify-write that finds the key changed each time."""
PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.1
LEASE_TTL = timedelta(seconds=15)
_OPEN = frozenset({Policy.MANUAL.value, Policy.VERSION_VECTOR.value})
"""Policies under which a write that does not say what it saw leaves a conflict to whoever has to settle it."""


class Memory(MemoryUndo, MemoryConflicts):
    """What everyone knows: keys with JSON values, and the past of each.

    A write replaces what is known here of the key. Two that did not know of each other are both kept, and the conflict
    policy of the key's prefix says what is read until somebody writes the key again.
    """

    @classmethod
    def over(
        cls,
        access: Access,
        *,
        rules: Rules,
        author: Author,
        is_compressing: bool = True,
        task_now: Callable[[], str] = str,
        silent_ms: Callable[[], int] = int,
    ) -> "Memory":
        """Return the memory as `access` reaches it, under the rules of the settings.

        `task_now` returns the task in which it is called: what is written there says so. `silent_ms` returns for how
        long the store has not answered: what is read says that.

        Raises:
            ConfigurationError: a custom policy the rules name cannot be imported.
        """
        customs = customs_of(rules)
        shared = Shared(
            access=access, rules=rules, customs=customs, is_compressing=is_compressing, task_now=task_now,
            silent_ms=silent_ms,
        )  # fmt: skip
        return cls(shared, author=author)

    def by(self, *, agent: str | None = None, task: str | None = None) -> "Memory":
        """Return the same memory, written on behalf of an agent or a task."""
        author = self._author
        author = replace(
            author, agent=author.agent if agent is None else agent, task=author.task if task is None else task
        )
        return Memory(self._shared, author=author)

    @overload
    async def get(self, key: str, *, at: At | None = None, session: Session | None = None) -> Entry[Any] | None: ...
    @overload
    async def get(
        self, key: str, *, model: type[M], at: At | None = None, session: Session | None = None
    ) -> Entry[M] | None: ...
    async def get(
        self, key: str, *, model: type[Any] | None = None, at: At | None = None, session: Session | None = None
    ) -> Entry[Any] | None:
        """Return a key, `None` if it has no value; with `at` as it was then, with `session` not older than that.

        Raises:
            InvalidPayloadError: the value does not fit `model`.
            NotFoundError: what it was at `at` is not kept (any more).
            StaleReadError: what the session has seen did not arrive in time.
            StoreUnreachableError: it has to be read at the store, which is away.
        """
        if at is not None:
            found = await self._then(key, at)
            return found and _as_model(found, model)
        item, resolved = await self.look(key, session=session)
        return self._marked(entry_of(item, resolved, _reader(key, model)))

    async def list(self, prefix: str = "", *, limit: int = 100, after: str = "") -> Sequence[Entry[Any]]:
        """Return up to `limit` keys that have a value, start with `prefix` and sort after `after`, in order."""
        found: list[Entry[Any]] = []
        now_ms = await self._access.now_ms()
        async for _, item in self._scan(prefix, after=after, page_size=min(limit, SCAN_PAGE)):
            one = self._marked(entry_of(item, self._resolve(item, now_ms), _same))
            if one is not None:
                found.append(one)
            if len(found) == limit:
                break
        return found

    async def put(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        key: str,
        value: object,
        *,
        ttl: timedelta | None = None,
        priority: int = 5,
        note: str = "",
        strategy: Strategy | str | None = None,
        policy: str | None = None,
        acks: Acks | str | None = None,
        over: Entry[Any] | None = None,
    ) -> Saved[Any]:
        """Write a value: JSON types, or a pydantic model. With `over` only if the key still is as it was read.

        How it becomes known, what a conflict means and how long it lasts follow the prefix's rule unless said here.
        `acks` (`hub`, `quorum`, `all`) waits until so many replicas have it.

        Raises:
            WriteConflictError: the key is not what `over` was read from any more; nothing was written.
            MemoryRefusedError: it is outside a limit of the mesh, or this node is in quarantine.
            StoreUnreachableError: the strategy needs the store and it is away; nothing was written.
            NotMasterError: another node writes this prefix.
            UnconfirmedError: written, but too few replicas said so in time.
        """
        how = How(ttl=ttl, priority=priority, note=note, strategy=strategy, policy=policy, acks=acks)
        return await self._saving(key, self._putting(key, value, how, over=over), how)

    async def put_many(
        self, values: Mapping[str, object], *, ttl: timedelta | None = None, priority: int = 5, note: str = ""
    ) -> Sequence[Saved[Any]]:
        """Write several keys, each as `put` does; keys are written one by one, so an error leaves the first written."""
        how = How(ttl=ttl, priority=priority, note=note)
        keys = [*values]
        done: list[Saved[Any]] = []
        for at in range(0, len(keys), MAX_BATCH):
            some = keys[at : at + MAX_BATCH]
            makes = {key: self._putting(key, values[key], how) for key in some}
            done += [each for each in await self._write_each(makes, dict.fromkeys(some, how)) if each is not None]
        return done

    async def create(
        self, key: str, value: object, *, ttl: timedelta | None = None, priority: int = 5, note: str = ""
    ) -> Saved[Any]:
        """Write a value only if the key has none.

        Raises:
            AlreadyExistsError: it has one.
            StoreUnreachableError: the store judges that, and is away; nothing was written.
        """
        how = How(ttl=ttl, priority=priority, note=note)
        try:
            return await self._saving(key, self._creating(key, value, how), how)
        except WriteConflictError as exc:
            raise AlreadyExistsError(f"memory key {key!r} has a value, written by {', '.join(exc.current)}") from exc

    async def update(
        self,
        key: str,
        change: Callable[[Any], Any | Awaitable[Any]],
        *,
        default: object = None,
        note: str = "",
        strategy: Strategy | str | None = None,
    ) -> Saved[Any]:
        """Read, change, write; again if somebody wrote in between, so that no update is lost.

        `change` is given the value (`default` if there is none) and returns the new one, perhaps more than once.

        Raises:
            WriteConflictError: the key changed each time, 200 times.
            StoreUnreachableError: the store judges what came first, and is away; nothing was written.
        """
        how = How(note=note, strategy=strategy)
        for attempt in range(MOST_TRIES):
            entry = await self.get(key)
            value = change(default if entry is None else entry.value)
            if isawaitable(value):
                value = await value
            try:
                if entry is None:
                    return await self._saving(key, self._creating(key, value, how), how)
                return await self._saving(key, self._putting(key, value, how, over=entry), how)
            except (WriteConflictError, AlreadyExistsError):
                if attempt == MOST_TRIES - 1:
                    raise
            await asyncio.sleep(jittered(self._shared.rng, attempt, first_s=PAUSE_S, longest_s=LONGEST_PAUSE_S))
        raise AssertionError("unreachable")

    async def delete(
        self, key: str, *, note: str = "", strategy: Strategy | str | None = None, over: Entry[Any] | None = None
    ) -> bool:
        """Delete a key, and return whether it had a value; with `over` only if as it was read. Raises as `put`."""
        had_value = False

        def make(item: Item, resolved: Resolved) -> Making:
            nonlocal had_value
            had_value = resolved.exists
            if over is not None:
                return Making(body=None, over=over.item, expects=over.dots)
            return Making(body=None, over=item)

        if over is None and not (await self.look(key))[1].siblings:
            return False
        await self.change(key, make, How(note=note, strategy=strategy))
        return had_value

    async def watch(self, prefix: str = "") -> AsyncGenerator[Change, None]:
        """Yield each key under `prefix` after it changed; changes in quick succession may come as one."""
        async for key, item in self._access.changes(prefix):
            yield Change(key, entry_of(item, self._resolve(item, await self._access.now_ms()), _same))

    def subscribe(self, prefix: str, callback: Callback) -> Subscription:
        """Call a function with each change under `prefix`, until the subscription returned is closed."""
        return Subscription(self.watch(prefix), callback)

    def counter(self, key: str) -> Counter:
        """Return a number that several may raise and lower at once."""
        return Counter(self, key)

    def set(self, key: str) -> SharedSet:
        """Return a set of JSON values that several may add to and remove from at once."""
        return SharedSet(self, key)

    def lease(self, key: str, value: object = None, *, ttl: timedelta = LEASE_TTL) -> KeyLease:
        """Return a lease on a key: while it is held nobody else has it, and the key shows `value`.

        async with mesh.memory.lease("locks/build") as lease:
            deploy(fencing_token=lease.token)
        """
        return KeyLease(self, key, value, ttl=ttl)

    async def session(self) -> Session:
        """Return the token of what was read and written here: `get(session=…)` anywhere shows no older state."""
        return await self._access.session()

    async def members(self) -> Sequence[Member]:
        """Return the replicas of the mesh and how far each is."""
        return await self._access.members()

    async def quarantine(self, node: str, *, reason: str) -> None:
        """Have the mesh refuse what a node writes from now on; `rollback_by` undoes what it wrote before."""
        await self._access.quarantine(node, reason=reason)

    async def readmit(self, node: str) -> bool:
        """Have the mesh take a node's writes again; return whether it was quarantined."""
        return await self._access.readmit(node)

    def _marked(self, entry: Entry[T] | None) -> Entry[T] | None:
        """Return the entry as read, marked if this node is cut from the store."""
        silent_ms = self._shared.silent_ms()
        return entry if entry is None or not silent_ms else replace(entry, silent_ms=silent_ms)

    async def _saving(self, key: str, make: Make, how: How) -> Saved[Any]:
        saved = await self.change(key, make, how)
        if saved is None:
            raise AssertionError("only a deletion saves nothing")
        return saved

    def _putting(self, key: str, value: object, how: How, *, over: Entry[Any] | None = None) -> Make:
        value = _dumped(value)
        policy = self._shared.rules.of(key).policy if how.policy is None else policy_named(how.policy)

        def make(item: Item, resolved: Resolved) -> Making:
            seen = item
            if over is not None:
                seen = over.item
            elif policy in _OPEN and resolved.is_conflict and resolved.winner is not None:
                seen = (resolved.winner,)
            body, kind = body_of(value, policy=policy, over=seen)
            return Making(body=body, over=seen, kind=kind, expects=None if over is None else over.dots)

        return make

    def _creating(self, key: str, value: object, how: How) -> Make:
        putting = self._putting(key, value, how)

        def make(item: Item, resolved: Resolved) -> Making:
            if resolved.siblings:
                raise AlreadyExistsError(f"memory key {key!r} has a value")
            return replace(putting(item, resolved), expects=())

        return make


def _reader(key: str, model: "type[Any] | None") -> Callable[[Any], Any]:
    if model is None:
        return _same

    def read(value: Any) -> Any:
        try:
            return model.model_validate(value)
        except ValueError as exc:
            raise InvalidPayloadError(f"memory key {key!r} does not fit {model.__name__}: {exc}") from exc

    return read


def _as_model(entry: Entry[Any], model: "type[Any] | None") -> Entry[Any]:
    return replace(entry, value=_reader(entry.key, model)(entry.value))


def _dumped(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(mode="json")


def _same(value: Any) -> Any:
    return value
