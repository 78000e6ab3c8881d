"""`MeshStore`: LangGraph's `BaseStore` on the shared memory.

A put after a get by the same task is a change of what was read: if somebody wrote in between, both changes are merged,
and where that is not possible the put raises instead of losing one. A put of a key that the task has not read replaces
it, as in any store.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar, cast

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
)

from meshd import codec
from meshd.errors import AlreadyExistsError, InvalidArgumentError, MeshError, WriteConflictError
from meshd.integrations.langgraph.filters import fits
from meshd.integrations.langgraph.merging import merged
from meshd.integrations.langgraph.names import Namespace, is_match, key_of, name_of, prefix_of
from meshd.integrations.langgraph.reads import Read, Reads
from meshd.memory.differences import ABSENT
from meshd.memory.entries import Entry, Saved
from meshd.memory.service import Memory
from meshd.pauses import jittered
from meshd.settings import Settings
from meshd.sync import SyncMesh

R = TypeVar("R")

PREFIX = "langgraph/"
PAGE = 500
MOST_TRIES = 200
PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.05


class MeshStore(BaseStore):
    """A LangGraph store that every process of a mesh shares.

        with MeshStore.from_url("redis://localhost") as store:
            graph = builder.compile(store=store)

    Made of a `Memory` instead, it belongs to the running loop. There is no search by meaning: a `query` is ignored, as
    in LangGraph's own stores without an index. Lifetimes are in minutes; reading does not prolong them.
    """

    supports_ttl = True

    def __init__(
        self,
        memory: Memory,
        *,
        prefix: str = PREFIX,
        ttl: TTLConfig | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.ttl_config = ttl
        self._memory = memory
        self._prefix = prefix
        self._loop = loop or asyncio.get_running_loop()
        self._reads = Reads()
        self._rng = Random()

    @classmethod
    @contextmanager
    def from_url(
        cls,
        url: str | None = None,
        *,
        mesh: str | None = None,
        agent: str = "",
        settings: Settings | None = None,
        ttl: TTLConfig | None = None,
    ) -> "Generator[MeshStore]":
        """Open a store on a mesh for the length of the block, for sync and async graphs alike.

        Raises:
            StoreUnreachableError: nothing answers there.
        """
        with SyncMesh(url, mesh=mesh, settings=settings) as opened:
            inner, loop = opened.inner()
            yield cls(inner.memory.by(agent=agent), ttl=ttl, loop=loop)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several operations: first what reads, then what writes, the last write of each key."""
        asked = list(ops)
        known = self._known(asked)
        return self._noted(*self._run(self._do(asked, known)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several operations: first what reads, then what writes, the last write of each key."""
        asked = list(ops)
        known = self._known(asked)
        if asyncio.get_running_loop() is self._loop:
            return self._noted(*await self._do(asked, known))
        done = asyncio.run_coroutine_threadsafe(self._do(asked, known), self._loop)
        return self._noted(*await asyncio.wrap_future(done))

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        try:
            is_inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_inside = False
        if is_inside:
            work.close()
            raise MeshError("this store belongs to the running loop: use its async methods, aget, aput and so on")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _known(self, ops: list[Op]) -> dict[str, Read]:
        """Return what the calling task knows of the keys it writes."""
        keys = [key_of(self._prefix, op.namespace, op.key) for op in ops if isinstance(op, PutOp)]
        return {key: read for key in keys if (read := self._reads.recall(key)) is not None}

    def _noted(self, results: list[Result], learned: dict[str, Read]) -> list[Result]:
        for key, read in learned.items():
            self._reads.remember(key, read)
        return results

    async def _do(self, ops: list[Op], known: Mapping[str, Read]) -> tuple[list[Result], dict[str, Read]]:
        learned: dict[str, Read] = {}
        results: list[Result] = []
        puts: dict[str, PutOp] = {}
        for op in ops:
            match op:
                case GetOp():
                    results.append(await self._get(op, learned))
                case SearchOp():
                    results.append(cast("Result", await self._search(op, learned)))
                case ListNamespacesOp():
                    results.append(cast("Result", await self._namespaces(op)))
                case PutOp():
                    puts[key_of(self._prefix, op.namespace, op.key)] = op
                    results.append(None)
        for key, op in puts.items():
            await self._write(key, op, known.get(key), learned)
        return results, learned

    async def _get(self, op: GetOp, learned: dict[str, Read]) -> Item | None:
        key = key_of(self._prefix, op.namespace, op.key)
        entry = await self._memory.get(key)
        learned[key] = Read(entry=entry, base=_value(entry))
        return None if entry is None else _item(self._prefix, entry)

    async def _search(self, op: SearchOp, learned: dict[str, Read]) -> list[SearchItem]:
        found: list[SearchItem] = []
        async for entry in self._entries(prefix_of(self._prefix, op.namespace_prefix)):
            if not fits(_value(entry), op.filter):
                continue
            learned[entry.key] = Read(entry=entry, base=_value(entry))
            item = _item(self._prefix, entry)
            found.append(SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at))
            if len(found) == op.offset + op.limit:
                break
        return found[op.offset :]

    async def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        found: set[Namespace] = set()
        async for entry in self._entries(self._prefix):
            namespace = name_of(self._prefix, entry.key)[0]
            if all(is_match(namespace, condition) for condition in op.match_conditions or ()):
                found.add(namespace if op.max_depth is None else namespace[: op.max_depth])
        return sorted(found)[op.offset : op.offset + op.limit]

    async def _entries(self, prefix: str) -> AsyncIterator[Entry[Any]]:
        after = ""
        while page := await self._memory.list(prefix, limit=PAGE, after=after):
            for entry in page:
                yield entry
            after = page[-1].key

    async def _write(self, key: str, op: PutOp, known: Read | None, learned: dict[str, Read]) -> None:
        if op.value is None:
            await self._memory.delete(key, over=None if known is None else known.entry)
            learned[key] = Read(entry=None, base=ABSENT)
            return
        mine = dict(op.value)
        ttl = None if op.ttl is None else timedelta(minutes=op.ttl)
        if known is None:
            entry = await self._memory.get(key)
            saved: Entry[Any] = await self._memory.put(key, _stored(mine, entry), ttl=ttl)
        else:
            saved = await self._change(key, mine, known, ttl=ttl)
        learned[key] = Read(entry=saved, base=_copied(mine))

    async def _change(self, key: str, mine: dict[str, Any], known: Read, *, ttl: timedelta | None) -> Saved[Any]:
        """Write what a task made of what it read; merge it with what others made of it meanwhile.

        Raises:
            UnmergeableError: both changed the same part.
            WriteConflictError: the key changed each time, 200 times.
        """
        entry, value = known.entry, mine
        for attempt in range(MOST_TRIES):
            try:
                if entry is None:
                    return await self._memory.create(key, _stored(value, None), ttl=ttl)
                return await self._memory.put(key, _stored(value, entry), ttl=ttl, over=entry)
            except (WriteConflictError, AlreadyExistsError):
                if attempt == MOST_TRIES - 1:
                    raise
            await asyncio.sleep(jittered(self._rng, attempt, first_s=PAUSE_S, longest_s=LONGEST_PAUSE_S))
            entry = await self._memory.get(key)
            value = mine if entry is None else merged(known.base, mine, _value(entry))
        raise AssertionError("unreachable")


def _stored(value: Mapping[str, Any], entry: Entry[Any] | None) -> dict[str, Any]:
    """Return an item's value as the memory keeps it: beside the time of its creation, which later writes keep."""
    created_ms = entry.value["created_ms"] if entry is not None else round(datetime.now(UTC).timestamp() * 1000)
    return {"created_ms": created_ms, "value": value}


def _value(entry: Entry[Any] | None) -> Any:
    """Return the value of an item.

    Raises:
        InvalidArgumentError: something else wrote the key.
    """
    if entry is None:
        return ABSENT
    kept: Any = entry.value
    if not isinstance(kept, dict) or "created_ms" not in kept:
        raise InvalidArgumentError(f"memory key {entry.key!r} was not written by a LangGraph store")
    return cast("dict[str, Any]", kept)["value"]


def _item(prefix: str, entry: Entry[Any]) -> Item:
    namespace, key = name_of(prefix, entry.key)
    return Item(
        value=_copied(_value(entry)),
        key=key,
        namespace=namespace,
        created_at=_moment(entry.value["created_ms"]),
        updated_at=_moment(entry.at_ms),
    )


def _copied(value: Mapping[str, Any]) -> Any:
    """Return a value of its own: whoever was given one may change it in place."""
    return codec.decode(codec.encode(value))


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
