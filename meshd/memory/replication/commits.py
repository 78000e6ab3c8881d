"""Drafts become durable here: what waits together is stamped and committed together.

Invariant: an actor's numbers have no holes in the local store, and a number is used for one version only, since the
version and the number that follows it are committed in one transaction.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from meshd.errors import BackpressureError, StoreUnreachableError
from meshd.memory.access import Draft
from meshd.memory.joining import admit
from meshd.memory.model import LOCAL, MAX_BATCH, MAX_BATCH_BYTES, Applied, Batch, Dot, Item, Reply, Version
from meshd.memory.refusals import conflict_of, refusal_of
from meshd.memory.replication.cache import Cache
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.stamping import Stamper, overlooked
from meshd.memory.syncing import SyncOptions

Committed = tuple[Version, Reply]
Told = Callable[[Sequence[Version]], None]
"""Called with what was committed, before its writers go on."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    draft: Draft
    done: "asyncio.Future[Committed]"
    again: Version | None = None
    """Write this anew, if it still is current."""


class Committer:
    """Commits drafts in the order they came."""

    def __init__(self, file: ReplicaFile, stamper: Stamper, cache: Cache, *, told: Told, options: SyncOptions) -> None:
        self._file = file
        self._stamper = stamper
        self._cache = cache
        self._told = told
        self._threshold = options.priority_threshold
        self._max_waiting = options.max_waiting
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._local_seq = stamper.local_ms() * 1_000
        self._seq = 0
        self.actor = ""

    def begin(self, actor: str, *, seq: int) -> None:
        """Write as this actor from now on, whose last number is `seq`."""
        self.actor, self._seq = actor, seq

    async def write(self, drafts: Sequence[Draft]) -> list[Committed]:
        """Return the versions once they are durable, in order; the first draft that fails raises, the others go on.

        Raises:
            WriteConflictError: the key is not as the draft expects, or has a version from here its writer had not seen.
            MemoryRefusedError: outside a limit.
            BackpressureError: too many drafts wait for the disk.
        """
        if len(self._waiting) + len(drafts) > max(self._max_waiting, len(drafts)):
            raise BackpressureError(
                f"{len(self._waiting)} writes of shared memory wait for the disk; write again later"
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(draft, loop.create_future()) for draft in drafts]
        self._waiting.extend(waiting)
        self._wake.set()
        for each in waiting:
            each.done.add_done_callback(_look_at)
        return [await each.done for each in waiting]

    async def restamp(self, versions: Sequence[Version]) -> None:
        """Write these anew at the time it is now, as the actor it is now.

        Left are those superseded meanwhile, and those that would supersede what was written beside them.
        """
        self._stamper.set_back()
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(Draft(key=each.key, body=None, over=()), loop.create_future(), each) for each in versions]
        self._waiting.extend(waiting)
        self._wake.set()
        for each in waiting:
            each.done.add_done_callback(_look_at)
        await asyncio.wait([each.done for each in waiting])

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self.run_once()

    async def run_once(self) -> None:
        """Commit the next batch."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
        try:
            await self._commit(taken)
        except Exception as exc:  # noqa: BLE001 -- every writer of the batch gets it
            for each in taken:
                _fail(each, exc)
        except asyncio.CancelledError:
            for each in taken:
                _fail(each, _closed())
            raise

    def close(self) -> None:
        """Fail what still waits."""
        while self._waiting:
            _fail(self._waiting.popleft(), _closed())

    async def _commit(self, taken: Sequence[_Waiting]) -> None:
        items = await self._current([each.draft.key for each in taken])
        own: list[tuple[_Waiting, Version]] = []
        local: list[tuple[_Waiting, Version]] = []
        size = 0
        for at, each in enumerate(taken):
            if each.done.done():
                continue
            try:
                version = self._made(each, items[each.draft.key], number=len(own) + 1)
            except Exception as exc:  # noqa: BLE001 -- a draft's body is its writer's code: the writer gets its error
                _fail(each, exc)
                continue
            size += len(version.blob)
            if size > MAX_BATCH_BYTES and size > len(version.blob):
                self._waiting.extendleft(reversed(taken[at:]))
                break
            items[each.draft.key] = admit(items[each.draft.key], version, {})[1]
            (local if version.header.actor == LOCAL else own).append((each, version))
        await self._keep(local)
        await self._push(own)

    async def _current(self, keys: Sequence[str]) -> dict[str, Item]:
        found = {key: self._cache.get(key) for key in keys}
        missing = [key for key, item in found.items() if item is None]
        if missing:
            mark = self._cache.mark
            read = list(zip(missing, await self._file.store.get(missing), strict=True))
            self._cache.fill(read, mark=mark)
            found.update(read)
        return {key: item or () for key, item in found.items()}

    def _made(self, waiting: _Waiting, item: Item, *, number: int) -> Version:
        draft, again = waiting.draft, waiting.again
        if again is not None:
            if again not in item or overlooked(item, replace(draft, over=(again,)), actor=self.actor):
                raise conflict_of(draft, item)
            return self._stamper.again(again, Dot(self.actor, self._seq + number))
        now_ms = self._stamper.now_ms()
        live = tuple(version.dot for version in item if version.is_live(now_ms))
        if draft.expects is not None and live != draft.expects:
            raise conflict_of(draft, item)
        is_local = draft.priority < self._threshold and all(each.header.actor == LOCAL for each in (*item, *draft.over))
        if overlooked(item, draft, actor=LOCAL if is_local else self.actor):
            raise conflict_of(draft, item)
        if not is_local:
            return self._stamper.make(draft, Dot(self.actor, self._seq + number))
        self._local_seq = 1 + max(self._local_seq, *(each.header.seq for each in item), 0)
        return self._stamper.make(draft, Dot(LOCAL, self._local_seq))

    async def _keep(self, made: Sequence[tuple[_Waiting, Version]]) -> None:
        if made:
            versions = [version for _, version in made]
            self._done(made, await self._file.store.absorb(versions))

    async def _push(self, made: Sequence[tuple[_Waiting, Version]]) -> None:
        if not made:
            return
        versions = [version for _, version in made]
        batch = Batch(actor=self.actor, first=self._seq + 1, last=self._seq + len(made), versions=versions)
        pushed = await self._file.store.push(batch)
        refused = [each.applied is Applied.REFUSED for each in pushed.replies]
        if pushed.gap:
            self._seq = pushed.seq
        if pushed.gap or any(refused):
            again = list(made)
            for at in [at for at, is_refused in enumerate(refused) if is_refused]:
                _fail(made[at][0], refusal_of(made[at][1].key, pushed.replies[at].refusal))
                again.remove(made[at])
            self._waiting.extendleft(each for each, _ in reversed(again))
            return
        self._seq = batch.last
        self._done(made, pushed.replies)

    def _done(self, made: Sequence[tuple[_Waiting, Version]], replies: Sequence[Reply]) -> None:
        versions = [version for _, version in made]
        self._cache.apply(versions, replies)
        self._told(versions)
        for (each, version), reply in zip(made, replies, strict=True):
            if each.done.done():
                continue
            if reply.applied is Applied.REFUSED:
                each.done.set_exception(refusal_of(version.key, reply.refusal))
            else:
                each.done.set_result((version, reply))


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _look_at(future: "asyncio.Future[Committed]") -> None:
    """Have a failure count as looked at: another draft of the same call may have raised first."""
    if not future.cancelled():
        future.exception()


def _closed() -> StoreUnreachableError:
    return StoreUnreachableError("the replica of the shared memory was closed")
